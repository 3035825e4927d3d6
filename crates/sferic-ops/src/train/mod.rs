//! The operations of training on kernels. Each returns nothing where kernels are not to be used or do not fit; its caller then takes the stock form.

mod attention;
mod indexer;
mod linear;
mod select;

pub use attention::{Attended, Visible, attention};
pub use linear::linear;
pub use select::select;
