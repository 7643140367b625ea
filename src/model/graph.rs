//! One graph: opened with the provider asked for, compared with its contract, and run with its outputs checked. What a run
//! returns has the promised shape and only finite numbers.

use std::borrow::Cow;
use std::time::Instant;
use std::{fmt, fs};

use ndarray::{Array, ArrayD, Dimension, IxDyn};
use ort::environment::Environment;
use ort::ep;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, TensorRef};

use super::bundle::Bundle;
use super::contract::{Contract, Port, Sizes};
use super::error::ModelError;
use super::{Provider, Settings, onnx, runtime};
use crate::metrics::Metrics;

/// Inputs by name, borrowed for the run.
pub(super) type Inputs<'a> = Vec<(Cow<'a, str>, SessionInputValue<'a>)>;

/// Lends an array to a run, without a copy; `graph` is told in the error.
pub(super) fn lend<'a, T, D>(graph: &'static str, array: &'a Array<T, D>) -> Result<TensorRef<'a, T>, ModelError>
where
    T: PrimitiveTensorElementType + fmt::Debug + Clone + 'static,
    D: Dimension + 'static,
{
    TensorRef::from_array_view(array).map_err(|source| ModelError::Run { graph, source })
}

/// A graph ready to run.
#[derive(Debug)]
pub(super) struct Graph {
    contract: &'static Contract,
    session: Session,
    sizes: Sizes,
}

impl Graph {
    /// Opens a graph of a bundle; axes seen for the first time are noted in `sizes`, the others must agree with it.
    pub fn open(
        contract: &'static Contract,
        bundle: &Bundle,
        settings: &Settings,
        environment: &Environment,
        sizes: &mut Sizes,
    ) -> Result<Self, ModelError> {
        let graph = contract.file;
        let file = fs::read(bundle.dir.join(graph)).map_err(|source| ModelError::Read { graph, source })?;
        refuse_by_contents(graph, &file)?;
        let mut builder =
            builder(contract, settings, environment).map_err(|fault| fault.of(graph, settings.provider))?;
        let _at_work = runtime::at_work();
        let session = builder.commit_from_memory(&file).map_err(|source| ModelError::Open { graph, source })?;
        contract.check(&session, sizes)?;
        Ok(Self { contract, session, sizes: sizes.clone() })
    }

    /// Name of the file.
    pub fn file(&self) -> &'static str {
        self.contract.file
    }

    /// The size of a named axis of this graph, or of any that the manifest gives.
    pub fn size(&self, axis: &'static str) -> usize {
        self.sizes.get(axis)
    }

    /// Runs the graph over `rows` rows. The outputs come in the order of the contract.
    pub fn run<const N: usize>(
        &mut self,
        inputs: Inputs<'_>,
        rows: usize,
        metrics: &Metrics,
    ) -> Result<[ArrayD<f32>; N], ModelError> {
        let &Contract { file: graph, stage, outputs: ports, .. } = self.contract;
        let started = Instant::now();
        let outputs = self.session.run(inputs).map_err(|source| ModelError::Run { graph, source })?;
        metrics.stage_seconds.with_label_values(&[stage]).observe(started.elapsed().as_secs_f64());
        let mut arrays = Vec::with_capacity(N);
        for port in ports {
            let value = outputs.get(port.name).ok_or_else(|| wrong(graph, port, "the run did not give it".into()))?;
            let (shape, numbers) =
                value.try_extract_tensor::<f32>().map_err(|source| ModelError::Run { graph, source })?;
            arrays.push(checked(graph, port, shape, numbers, &port.shape_of_run(rows, &self.sizes))?);
        }
        arrays
            .try_into()
            .map_err(|_| ModelError::Refused { graph, problem: "not the promised number of outputs".into() })
    }
}

/// What is no fault of the runtime: refused before it is asked, with a message of our own.
fn refuse_by_contents(graph: &'static str, file: &[u8]) -> Result<(), ModelError> {
    let refused = |problem: String| Err(ModelError::Refused { graph, problem });
    let Ok(contents) = onnx::contents(file) else {
        return refused("not an ONNX file".into());
    };
    if let Some(operator) = contents.dynamic_quantisation {
        return refused(format!(
            "it has a {operator} node, which takes its scale from the whole batch, so that a post's score would depend on its \
             neighbours; quantise statically (QDQ) instead"
        ));
    }
    if contents.external_data {
        return refused(
            "its weights lie in another file, which the digest would not pin; save them inside the graph".into(),
        );
    }
    Ok(())
}

fn checked(
    graph: &'static str,
    port: &'static Port,
    shape: &[i64],
    numbers: &[f32],
    wanted: &[Option<usize>],
) -> Result<ArrayD<f32>, ModelError> {
    let found: Vec<usize> = shape.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    let opaque = wanted.last().is_some_and(Option::is_none);
    let rank_fits = found.len() == wanted.len() || (opaque && found.len() + 1 >= wanted.len());
    if !rank_fits || wanted.iter().zip(&found).any(|(wanted, found)| wanted.is_some_and(|wanted| wanted != *found)) {
        return Err(wrong(graph, port, format!("shape {found:?}, not {port} with {wanted:?}")));
    }
    if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(wrong(graph, port, format!("{number} among its numbers")));
    }
    ArrayD::from_shape_vec(IxDyn(&found), numbers.to_vec())
        .map_err(|_| wrong(graph, port, format!("{} numbers for shape {found:?}", numbers.len())))
}

/// An output of a run as an array of the rank its contract says.
pub(super) fn ranked<D: Dimension>(graph: &'static str, output: ArrayD<f32>) -> Result<Array<f32, D>, ModelError> {
    let rank = output.ndim();
    output
        .into_dimensionality()
        .map_err(|_| ModelError::Refused { graph, problem: format!("an output of rank {rank}") })
}

fn wrong(graph: &'static str, port: &'static Port, problem: String) -> ModelError {
    ModelError::Output { graph, tensor: port.name, problem }
}

/// Telling apart whose fault it is that there is no session.
enum Fault {
    Options(ort::Error),
    Provider(ort::Error),
}

impl Fault {
    fn of(self, graph: &'static str, provider: Provider) -> ModelError {
        match self {
            Self::Options(source) => ModelError::Open { graph, source },
            Self::Provider(source) => ModelError::Provider { provider, extra: provider.extra_libraries(), source },
        }
    }
}

fn builder(contract: &Contract, settings: &Settings, environment: &Environment) -> Result<SessionBuilder, Fault> {
    options(contract, settings, environment)
        .map_err(Fault::Options)?
        .with_execution_providers(providers(settings))
        .map_err(|error| Fault::Provider(error.into()))
}

fn options(contract: &Contract, settings: &Settings, environment: &Environment) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_intra_threads(if contract.heavy { settings.threads() } else { settings.threads().div_ceil(2) })?
        // Waiting threads sleep, since decoding needs the cores: with spinning, on cores that others used too, a post cost up to
        // five times the processor time.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // A pattern is planned and kept for every shape seen, and batches and texts come in any size.
        .with_memory_pattern(false)?;
    Ok(builder)
}

/// Each of these is an error when it cannot be had. The CPU provider always comes last, for operators that a device lacks.
fn providers(settings: &Settings) -> Vec<ep::ExecutionProviderDispatch> {
    let cuda = || {
        ep::CUDA::default()
            .with_device_id(settings.device_id)
            // The default tries every algorithm anew for every shape, and shapes vary.
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
            // TF32 keeps 10 bits of the mantissa, and a post should score the same on every machine.
            .with_tf32(false)
            .build()
            .error_on_failure()
    };
    match settings.provider {
        Provider::Cpu => vec![
            // The arena keeps the memory that the warm-up took, so that no run pays for page faults and none grows it.
            ep::CPU::default().with_arena_allocator(true).build().error_on_failure(),
        ],
        Provider::Cuda => vec![cuda()],
        Provider::TensorRt => {
            let tensorrt = ep::TensorRT::default().with_device_id(settings.device_id).build().error_on_failure();
            vec![tensorrt, cuda()]
        }
    }
}
