//! One graph: opened with the provider asked for, compared with its contract, and run with its outputs checked. What a run
//! returns has the promised shape and only finite numbers.

use std::fs;
use std::time::Instant;

use ndarray::{Array, ArrayD, ArrayViewD, Dimension, IxDyn};
use ort::environment::Environment;
use ort::ep;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::TensorRef;

use super::bundle::Bundle;
use super::contract::{Contract, Port, Sizes};
use super::device::{self, Bound};
use super::error::ModelError;
use super::{Provider, Settings, onnx, runtime};
use crate::metrics::Metrics;
use crate::traces;

/// An input of a run, its rows along the first axis.
#[derive(Debug)]
pub(super) enum Feed<'a> {
    Bytes(ArrayViewD<'a, u8>),
    Integers(ArrayViewD<'a, i64>),
    Floats(ArrayViewD<'a, f32>),
    Flags(ArrayViewD<'a, bool>),
}

impl<'a, D: Dimension> From<&'a Array<u8, D>> for Feed<'a> {
    fn from(rows: &'a Array<u8, D>) -> Self {
        Self::Bytes(rows.view().into_dyn())
    }
}

impl<'a, D: Dimension> From<&'a Array<i64, D>> for Feed<'a> {
    fn from(rows: &'a Array<i64, D>) -> Self {
        Self::Integers(rows.view().into_dyn())
    }
}

impl<'a, D: Dimension> From<&'a Array<f32, D>> for Feed<'a> {
    fn from(rows: &'a Array<f32, D>) -> Self {
        Self::Floats(rows.view().into_dyn())
    }
}

impl<'a, D: Dimension> From<&'a Array<bool, D>> for Feed<'a> {
    fn from(rows: &'a Array<bool, D>) -> Self {
        Self::Flags(rows.view().into_dyn())
    }
}

impl Feed<'_> {
    /// Lent to a run, without a copy.
    fn lend(&self) -> ort::Result<SessionInputValue<'_>> {
        Ok(match self {
            Self::Bytes(rows) => TensorRef::from_array_view(rows.view())?.into(),
            Self::Integers(rows) => TensorRef::from_array_view(rows.view())?.into(),
            Self::Floats(rows) => TensorRef::from_array_view(rows.view())?.into(),
            Self::Flags(rows) => TensorRef::from_array_view(rows.view())?.into(),
        })
    }
}

/// A graph ready to run.
#[derive(Debug)]
pub(super) struct Graph {
    contract: &'static Contract,
    session: Session,
    sizes: Sizes,
    /// On a card.
    bound: Option<Bound>,
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
        let bound = (settings.provider != Provider::Cpu).then(|| Bound::to_card(&session, settings)).transpose();
        let bound = bound.map_err(|source| ModelError::Open { graph, source })?;
        Ok(Self { contract, session, sizes: sizes.clone(), bound })
    }

    /// Name of the file.
    pub fn file(&self) -> &'static str {
        self.contract.file
    }

    /// The size of a named axis of this graph, or of any that the manifest gives.
    pub fn size(&self, axis: &'static str) -> usize {
        self.sizes.get(axis)
    }

    /// From now on runs as on a card, from this processor's own memory.
    #[cfg(test)]
    pub fn bind_to_processor(&mut self) {
        use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
        self.bound = Some(Bound::to(&self.session, memory.expect("memory")).expect("bound"));
    }

    /// Rows that are computed where `rows` are wanted.
    pub fn rows_run(&self, rows: usize) -> usize {
        if self.bound.is_some() { device::filled_up(rows) } else { rows }
    }

    /// Runs the graph over `rows` rows. The outputs come in the order of the contract.
    pub fn run<const N: usize>(
        &mut self,
        feeds: &[(&'static str, Feed<'_>)],
        rows: usize,
        metrics: &Metrics,
    ) -> Result<[ArrayD<f32>; N], ModelError> {
        let &Contract { file: graph, stage, outputs: ports, .. } = self.contract;
        let failed = |source| ModelError::Run { graph, source };
        let started = Instant::now();
        let ran = self.rows_run(rows);
        let outputs = match &mut self.bound {
            Some(bound) => bound.run(&mut self.session, feeds).map_err(failed)?,
            None => run_lent(&mut self.session, feeds).map_err(failed)?,
        };
        metrics.stage_seconds.with_label_values(&[stage]).observe(started.elapsed().as_secs_f64());
        traces::graph(stage, started);
        let mut arrays = Vec::with_capacity(N);
        for port in ports {
            let value = outputs.get(port.name).ok_or_else(|| wrong(graph, port, "the run did not give it".into()))?;
            let (shape, numbers) = value.try_extract_tensor::<f32>().map_err(failed)?;
            let numbers = numbers.get(..numbers.len() / ran.max(1) * rows).unwrap_or(numbers);
            arrays.push(checked(graph, port, shape, numbers, &port.shape_of_run(ran, &self.sizes), rows)?);
        }
        arrays
            .try_into()
            .map_err(|_| ModelError::Refused { graph, problem: "not the promised number of outputs".into() })
    }
}

fn run_lent<'s>(session: &'s mut Session, feeds: &[(&'static str, Feed<'_>)]) -> ort::Result<SessionOutputs<'s>> {
    let lent = feeds.iter().map(|(name, feed)| Ok((*name, feed.lend()?)));
    let lent: Vec<_> = lent.collect::<ort::Result<_>>()?;
    session.run(lent)
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
    rows: usize,
) -> Result<ArrayD<f32>, ModelError> {
    let mut found: Vec<usize> = shape.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    let opaque = wanted.last().is_some_and(Option::is_none);
    let rank_fits = found.len() == wanted.len() || (opaque && found.len() + 1 >= wanted.len());
    if !rank_fits || wanted.iter().zip(&found).any(|(wanted, found)| wanted.is_some_and(|wanted| wanted != *found)) {
        return Err(wrong(graph, port, format!("shape {found:?}, not {port} with {wanted:?}")));
    }
    if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(wrong(graph, port, format!("{number} among its numbers")));
    }
    if let Some(ran) = found.first_mut() {
        *ran = rows;
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
