//! Everything that can go wrong between a bundle and a prediction.

use super::Provider;

/// Why the model cannot be loaded or did not answer. At start all are fatal; in `score` the bisecting decides whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A setting makes no sense.
    #[error("{key}: {problem}")]
    Setting {
        /// The setting's whole name.
        key: &'static str,
        /// What is wrong and how to put it right.
        problem: String,
    },
    /// ONNX Runtime is not there or cannot be loaded.
    #[error("{0}")]
    Library(String),
    /// What should run the graphs is not available. There is no silent fall back.
    #[error(
        "model.provider is {provider}, which ONNX Runtime cannot use here: {source}; run `make onnxruntime-gpu` and see that the \
         NVIDIA driver and the CUDA 13 libraries{extra} are installed, or set model.provider to cpu"
    )]
    Provider {
        /// What was asked for.
        provider: Provider,
        /// Libraries it needs beyond CUDA's.
        extra: &'static str,
        /// ONNX Runtime's reason.
        source: ort::Error,
    },
    /// A bug: the thread that ran the model panicked.
    #[error("a model thread panicked; standard error has the message")]
    Panicked,
    /// A graph's file cannot be read.
    #[error("cannot read {graph}")]
    Read {
        /// File name.
        graph: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A graph cannot be opened.
    #[error("{graph} is refused: {problem}")]
    Refused {
        /// File name.
        graph: &'static str,
        /// What was found and what to do.
        problem: String,
    },
    /// ONNX Runtime cannot open a graph.
    #[error("{graph} cannot be opened by ONNX Runtime")]
    Open {
        /// File name.
        graph: &'static str,
        /// ONNX Runtime's reason.
        source: ort::Error,
    },
    /// An input or output of a graph is not what the bundle format says.
    #[error("{graph}: {tensor}: expected {expected}, found {found}")]
    Contract {
        /// File name.
        graph: &'static str,
        /// Name of the input or output.
        tensor: String,
        /// What `docs/bundle.md` asks for.
        expected: String,
        /// What the graph declares.
        found: String,
    },
    /// A post's tensors do not fit the bundle.
    #[error("input: {0}")]
    Input(String),
    /// A graph failed while running.
    #[error("{graph} failed: {source}")]
    Run {
        /// File name.
        graph: &'static str,
        /// ONNX Runtime's reason.
        source: ort::Error,
    },
    /// A graph ran, and what it gave is no answer.
    #[error("{graph}: {tensor}: {problem}")]
    Output {
        /// File name.
        graph: &'static str,
        /// Name of the output.
        tensor: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The same post scores differently alone and among others.
    #[error(
        "the bundle's scores depend on a post's neighbours: alone and in a batch of {batch} they are {difference} apart (at most \
         {most}); a graph quantises, normalises or pads over the batch, export it so that each row stands alone"
    )]
    Neighbours {
        /// Posts in the batch.
        batch: usize,
        /// The largest difference.
        difference: f32,
        /// The largest allowed.
        most: f32,
    },
}
