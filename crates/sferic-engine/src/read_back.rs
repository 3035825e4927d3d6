//! Values from the device, without blocking: a browser's GPU answers through its event loop.

use crate::EngineError;
use burn::tensor::{Int, Tensor};

/// Reads a tensor in row-major order.
///
/// # Errors
/// [`EngineError::Device`] when the device cannot deliver.
pub(crate) async fn read_f32<const N: usize>(tensor: Tensor<N>, doing: &'static str) -> Result<Vec<f32>, EngineError> {
    let values = tensor.into_data_async().await.map_err(|source| failed(doing, &source))?;
    values.try_into_vec_as::<f32>().map_err(|source| failed(doing, &source))
}

/// Reads an integer tensor in row-major order.
///
/// # Errors
/// [`EngineError::Device`] when the device cannot deliver.
pub(crate) async fn read_i32<const N: usize>(tensor: Tensor<N, Int>, doing: &'static str) -> Result<Vec<i32>, EngineError> {
    let values = tensor.into_data_async().await.map_err(|source| failed(doing, &source))?;
    values.try_into_vec_as::<i32>().map_err(|source| failed(doing, &source))
}

/// Waits until `tensor`, and with it everything submitted before, has been computed.
///
/// # Shapes
/// - tensor: `[1, 1, D]`, of which one value is read
///
/// # Errors
/// [`EngineError::Device`] when the device fails.
pub(crate) async fn wait_for(tensor: Tensor<3>, doing: &'static str) -> Result<(), EngineError> {
    read_f32(tensor.narrow(2, 0, 1), doing).await.map(|_| ())
}

fn failed(doing: &'static str, source: &dyn std::fmt::Display) -> EngineError {
    EngineError::Device { doing, message: source.to_string() }
}
