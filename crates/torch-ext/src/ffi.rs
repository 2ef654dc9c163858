//! The functions of `shim/shim.cpp`. Tensors cross as pointers to `at::Tensor`; a status of 0 is success.

use std::ffi::{CStr, c_char, c_double, c_int, c_void};

use tch::Tensor;

use crate::error::{Error, Result};

unsafe extern "C" {
    fn torch_ext_last_error() -> *const c_char;
    fn torch_ext_version() -> *const c_char;
    fn torch_ext_config() -> *const c_char;
    fn torch_ext_cuda_message() -> *const c_char;
    fn torch_ext_cuda_loaded() -> c_int;
    fn torch_ext_pack_convolution(
        out: *mut *mut c_void,
        weight: *const c_void,
        padding: i64,
        stride: i64,
        size: *const i64,
    ) -> c_int;
    fn torch_ext_packed_convolution(
        out: *mut *mut c_void,
        x: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        other: *const c_void,
        padding: i64,
        stride: i64,
    ) -> c_int;
    fn torch_ext_attention(
        out: *mut *mut c_void,
        q: *const c_void,
        k: *const c_void,
        v: *const c_void,
    ) -> c_int;
    fn torch_ext_group_norm(
        out: *mut *mut c_void,
        x: *const c_void,
        before: *const c_void,
        after: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        groups: i64,
        eps: c_double,
        silu: c_int,
    ) -> c_int;
    fn torch_ext_dropout(
        out: *mut *mut c_void,
        x: *const c_void,
        p: c_double,
        keys: *const u64,
        n: usize,
    ) -> c_int;
    fn torch_ext_checkpoint(
        out: *mut *mut c_void,
        work: *mut c_void,
        call: Call,
        drop: unsafe extern "C" fn(*mut c_void),
        inputs: *const *const c_void,
        n: usize,
    ) -> c_int;
    #[cfg(test)]
    fn torch_ext_threefry(k0: u32, k1: u32, first: u32, second: u32, out: *mut u32);
    fn torch_ext_set_tf32(allow: c_int) -> c_int;
    fn torch_ext_set_deterministic(on: c_int) -> c_int;
    fn torch_ext_autocast(on: c_int, before: *mut c_int) -> c_int;
    fn torch_ext_adamw(
        parameters: *const *const c_void,
        gradients: *const *const c_void,
        first: *const *const c_void,
        second: *const *const c_void,
        steps: *const *const c_void,
        n: usize,
        rate: c_double,
        beta1: c_double,
        beta2: c_double,
        eps: c_double,
        weight_decay: c_double,
    ) -> c_int;
    fn torch_ext_weighted_sum(
        out: *const c_void,
        x: *const *const c_void,
        c: *const c_double,
        n: usize,
        rows: usize,
        len: usize,
    ) -> c_int;
    fn torch_ext_squared_errors(
        out: *mut c_double,
        m: usize,
        x: *const *const c_void,
        c: *const c_double,
        n: usize,
        y: *const c_void,
        z: *const c_void,
        atol: c_double,
        rtol: c_double,
        rows: usize,
        len: usize,
    ) -> c_int;
}

/// The tensors' addresses, valid while the tensors are borrowed.
pub(crate) fn pointers<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Vec<*const c_void> {
    tensors.map(|t| t.as_ptr().cast::<c_void>()).collect()
}

fn text(pointer: *const c_char) -> String {
    // SAFETY: the shim returns NUL-terminated strings that live until this thread's next failing call, or for ever.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn checked(status: c_int) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: no arguments; the string is copied before anything else runs on this thread.
    let message = text(unsafe { torch_ext_last_error() });
    Err(match status {
        2 => Error::OutOfMemory(message.lines().next().unwrap_or_default().to_owned()),
        _ => Error::from_message(&message),
    })
}

pub(crate) fn version() -> String {
    // SAFETY: returns a constant string.
    text(unsafe { torch_ext_version() })
}

pub(crate) fn config() -> String {
    // SAFETY: returns a static string, which is the same at every call.
    text(unsafe { torch_ext_config() })
}

/// Whether the CUDA half was loaded, and from where or why not.
pub(crate) fn cuda() -> (bool, String) {
    // SAFETY: both read what the constructor wrote before `main`.
    unsafe { (torch_ext_cuda_loaded() != 0, text(torch_ext_cuda_message())) }
}

fn pointer(tensor: &Tensor) -> *const c_void {
    tensor.as_ptr().cast()
}

/// The tensor that the shim made.
///
/// # Safety
/// `made` comes from `new at::Tensor` in the shim and belongs to nobody else.
unsafe fn owned(made: *mut c_void) -> Tensor {
    // SAFETY: as the caller promises.
    unsafe { Tensor::from_ptr(made.cast()) }
}

pub(crate) fn pack_convolution(
    weight: &Tensor,
    padding: i64,
    stride: i64,
    size: [i64; 4],
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: the tensors live through the call, `size` has four entries, and `out` is written where the status is 0.
    checked(unsafe {
        torch_ext_pack_convolution(&raw mut out, pointer(weight), padding, stride, size.as_ptr())
    })?;
    // SAFETY: the status was 0.
    Ok(unsafe { owned(out) })
}

pub(crate) fn packed_convolution(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    other: Option<&Tensor>,
    padding: i64,
    stride: i64,
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    let other = other.map_or(std::ptr::null(), pointer);
    // SAFETY: the tensors live through the call, and `out` is written where the status is 0.
    checked(unsafe {
        torch_ext_packed_convolution(
            &raw mut out,
            pointer(x),
            pointer(weight),
            pointer(bias),
            other,
            padding,
            stride,
        )
    })?;
    // SAFETY: the status was 0.
    Ok(unsafe { owned(out) })
}

/// `softmax(q kᵀ/√d) v`; the shim looks at kinds and shapes.
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: the tensors live through the call, and `out` is written where the status is 0.
    checked(unsafe { torch_ext_attention(&raw mut out, pointer(q), pointer(k), pointer(v)) })?;
    // SAFETY: the status was 0.
    Ok(unsafe { owned(out) })
}

/// Group norm with what stands around it; the shim looks at kinds and shapes.
pub(crate) fn group_norm(
    x: &Tensor,
    (before, after): (Option<&Tensor>, Option<&Tensor>),
    (weight, bias): (&Tensor, &Tensor),
    (groups, eps, silu): (i64, f64, bool),
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    let (x, weight, bias) = (pointer(x), pointer(weight), pointer(bias));
    let [before, after] = [before, after].map(|t| t.map_or(std::ptr::null(), pointer));
    let silu = silu.into();
    // SAFETY: the tensors live through the call, null stands for none, and `out` is written where the status is 0.
    checked(unsafe {
        torch_ext_group_norm(&raw mut out, x, before, after, weight, bias, groups, eps, silu)
    })?;
    // SAFETY: the status was 0.
    Ok(unsafe { owned(out) })
}

/// Dropout by one key for each row; the shim looks at kinds and shapes.
pub(crate) fn dropout(x: &Tensor, p: f64, keys: &[u64]) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: x and the keys live through the call, which copies them; `out` is written where the status is 0.
    checked(unsafe { torch_ext_dropout(&raw mut out, pointer(x), p, keys.as_ptr(), keys.len()) })?;
    // SAFETY: the status was 0.
    Ok(unsafe { owned(out) })
}

/// A function of tensors, or the text of its error.
pub(crate) type Work = Box<dyn Fn(&[Tensor]) -> std::result::Result<Tensor, String> + Send>;

/// How the shim calls it.
type Call = unsafe extern "C" fn(
    work: *mut c_void,
    inputs: *const *mut c_void,
    n: usize,
    out: *mut *mut c_void,
    message: *mut c_char,
    room: usize,
) -> c_int;

/// Calls a [`Work`] behind a pointer: 0 and a tensor that is the caller's, or 1 and a message.
///
/// # Safety
/// `work` points to a [`Work`], `inputs` to n tensors, `out` to a pointer and `message` to `room` bytes.
unsafe extern "C" fn call_work(
    work: *mut c_void,
    inputs: *const *mut c_void,
    n: usize,
    out: *mut *mut c_void,
    message: *mut c_char,
    room: usize,
) -> c_int {
    // SAFETY: as the caller promises; the clones own references of their own.
    let (work, inputs): (&Work, Vec<Tensor>) = unsafe {
        let inputs = std::slice::from_raw_parts(inputs, n);
        let cloned = inputs.iter().map(|&x| Tensor::clone_from_ptr(x.cast()));
        (&*work.cast::<Work>(), cloned.collect())
    };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&inputs)));
    let text = match done {
        Ok(Ok(y)) => {
            let mut y = std::mem::ManuallyDrop::new(y); // the shim deletes it
            // SAFETY: as the caller promises.
            unsafe { *out = y.as_mut_ptr().cast() };
            return 0;
        }
        Ok(Err(text)) => text,
        Err(_) => "the function of a checkpoint panicked".to_owned(),
    };
    let bytes = text.as_bytes();
    let len = bytes.len().min(room.saturating_sub(1));
    // SAFETY: `len` and the NUL fit into the room.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), message, len);
        *message.add(len) = 0;
    }
    1
}

/// Lets go of a [`Work`].
///
/// # Safety
/// `work` came from `Box::into_raw`, and nobody uses it any more.
unsafe extern "C" fn drop_work(work: *mut c_void) {
    // SAFETY: as the caller promises.
    drop(unsafe { Box::from_raw(work.cast::<Work>()) });
}

/// A function that is done again on the way back. It may be let go of on another thread, so it is [`Send`].
pub(crate) fn checkpoint(inputs: &[&Tensor], work: Work) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    let inputs = pointers(inputs.iter().copied());
    let work = Box::into_raw(Box::new(work)).cast();
    // SAFETY: the tensors live through the call; the shim owns `work` from here on, calls it on one thread at a time and
    // drops it once; `out` is written where the status is 0.
    checked(unsafe {
        torch_ext_checkpoint(
            &raw mut out,
            work,
            call_work,
            drop_work,
            inputs.as_ptr(),
            inputs.len(),
        )
    })?;
    // SAFETY: the status was 0.
    Ok(unsafe { owned(out) })
}

/// Sixteen first words and sixteen second ones.
#[cfg(test)]
pub(crate) fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 32] {
    let mut out = [0; 32];
    // SAFETY: writes 32 numbers.
    unsafe { torch_ext_threefry(key[0], key[1], counter[0], counter[1], out.as_mut_ptr()) };
    out
}

pub(crate) fn set_tf32(allow: bool) -> Result<()> {
    // SAFETY: takes a number and sets a flag of libtorch.
    checked(unsafe { torch_ext_set_tf32(allow.into()) })
}

pub(crate) fn set_deterministic(on: bool) -> Result<()> {
    // SAFETY: as above.
    checked(unsafe { torch_ext_set_deterministic(on.into()) })
}

/// Sets the flag of this thread; whether it was set.
pub(crate) fn autocast(on: bool) -> Result<bool> {
    let mut before = 0;
    // SAFETY: as above; `before` lives through the call.
    checked(unsafe { torch_ext_autocast(on.into(), &raw mut before) })?;
    Ok(before != 0)
}

/// The five lists of one `AdamW` step, each of the same length.
pub(crate) struct AdamwLists {
    pub(crate) parameters: Vec<*const c_void>,
    pub(crate) gradients: Vec<*const c_void>,
    pub(crate) first: Vec<*const c_void>,
    pub(crate) second: Vec<*const c_void>,
    pub(crate) steps: Vec<*const c_void>,
}

pub(crate) fn adamw(lists: &AdamwLists, rate: f64, betas: (f64, f64), decay: f64) -> Result<()> {
    let AdamwLists { parameters, gradients, first, second, steps } = lists;
    let n = parameters.len();
    if [gradients, first, second, steps].iter().any(|list| list.len() != n) {
        return Err(Error::Torch(format!("AdamW needs one gradient for each of {n} tensors")));
    }
    // SAFETY: every list holds n addresses of tensors that the caller keeps borrowed during this call, and the caller has
    // checked that those of one place agree in shape, kind, device and layout, which the kernel takes for granted.
    checked(unsafe {
        torch_ext_adamw(
            parameters.as_ptr(),
            gradients.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            steps.as_ptr(),
            n,
            rate,
            betas.0,
            betas.1,
            1e-8,
            decay,
        )
    })
}

/// `rows` rows of `len` numbers, and n terms of coefficients `[n, rows]`.
pub(crate) struct Terms<'a> {
    pub(crate) x: Vec<*const c_void>,
    pub(crate) c: &'a [f64],
    pub(crate) rows: usize,
    pub(crate) len: usize,
}

pub(crate) fn weighted_sum(out: &mut Tensor, terms: &Terms<'_>) -> Result<()> {
    let Terms { x, c, rows, len } = terms;
    if c.len() != x.len() * rows {
        return Err(Error::Torch(format!("{} coefficients for {} x {rows}", c.len(), x.len())));
    }
    // SAFETY: x holds addresses of tensors that the caller keeps borrowed, c one number for each term and row; the shim
    // itself checks that every tensor has `rows · len` numbers, contiguous f64 on the CPU. Only `out` is written.
    checked(unsafe {
        torch_ext_weighted_sum(
            out.as_ptr().cast::<c_void>(),
            x.as_ptr(),
            c.as_ptr(),
            x.len(),
            *rows,
            *len,
        )
    })
}

/// One row sum for each of the m sets of `[n, rows]` coefficients and each row.
pub(crate) fn squared_errors(
    m: usize,
    terms: &Terms<'_>,
    (y, z): (&Tensor, &Tensor),
    (atol, rtol): (f64, f64),
) -> Result<Vec<f64>> {
    let Terms { x, c, rows, len } = terms;
    if c.len() != m * x.len() * rows {
        return Err(Error::Torch(format!(
            "{} coefficients for {m} x {} x {rows}",
            c.len(),
            x.len()
        )));
    }
    let mut out = vec![0.0; m * rows];
    // SAFETY: as above; `out` has m numbers for each row, and no tensor is written.
    checked(unsafe {
        torch_ext_squared_errors(
            out.as_mut_ptr(),
            m,
            x.as_ptr(),
            c.as_ptr(),
            x.len(),
            y.as_ptr().cast::<c_void>(),
            z.as_ptr().cast::<c_void>(),
            atol,
            rtol,
            *rows,
            *len,
        )
    })?;
    Ok(out)
}
