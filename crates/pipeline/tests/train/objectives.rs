//! The loss is score-match's in every prediction, reaches every weight and can be brought to nothing.
