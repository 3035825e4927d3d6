//! The operations of training on kernels. Each returns nothing where kernels are not to be used or do not fit; its caller then takes the stock form.

use burn::tensor::Device;

mod activation;
mod attention;
mod embedding;
mod head;
mod indexer;
mod latent;
mod linear;
mod norm;
mod select;

pub use activation::silu_mul;
pub use attention::{Attended, Visible, attention};
pub use embedding::embedding;
pub use head::{HeadGradients, head_gradients};
pub use latent::{Block, Rows, latent_attention};
pub use linear::{linear, products};
pub use norm::rms_norm;
pub use select::select;

/// Whether operations on `device` use kernels where these fit.
pub fn fits(device: &Device) -> bool {
    crate::kernels::capabilities(device).is_some()
}
