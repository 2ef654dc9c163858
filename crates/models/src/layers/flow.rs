//! What runs through a U-Net: the state, the states that the way up will take back, and a second image beside them.

use tch::Tensor;

use crate::error::Result;

/// What runs through the blocks.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) h: Tensor,
    /// The states of the way down that the way up has not yet taken back.
    stack: Vec<Tensor>,
    /// The second image, of networks that have one.
    pub(crate) image: Option<Tensor>,
}

impl Flow {
    /// Begins with a state, which is remembered, and an image.
    pub(crate) fn new(h: Tensor, image: &Tensor) -> Self {
        Self { stack: vec![h.shallow_clone()], h, image: Some(image.shallow_clone()) }
    }

    /// The next state of the way down.
    pub(crate) fn push(&mut self, h: Tensor) {
        self.stack.push(h.shallow_clone());
        self.h = h;
    }

    /// The state and, behind its channels, those of the last state of the way down that is still there.
    pub(crate) fn joined(&mut self) -> Result<Tensor> {
        match self.stack.pop() {
            Some(state) => Ok(Tensor::f_cat(&[&self.h, &state], 1)?),
            None => Ok(self.h.shallow_clone()),
        }
    }
}
