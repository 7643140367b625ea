//! What `docs/bundle.md` promises of each graph's inputs and outputs, and the comparison of a graph with it.

use std::collections::BTreeMap;
use std::fmt;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::error::ModelError;

/// An axis of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    /// Differs from run to run: B, T or S.
    Dynamic(&'static str),
    /// Fixed by the graph, and the same in every graph and the manifest.
    Named(&'static str),
    /// Fixed by the format.
    Exactly(usize),
    /// Any further axes; the worker hands the tensor on unread.
    Opaque,
}

/// An input or output.
#[derive(Debug)]
pub(super) struct Port {
    pub name: &'static str,
    element: TensorElementType,
    axes: &'static [Axis],
}

/// A graph's promises.
#[derive(Debug)]
pub(super) struct Contract {
    pub file: &'static str,
    /// Label of the metric `stage_seconds`.
    pub stage: &'static str,
    /// Whether it is worth all threads. The heads and the tagger are many small steps: with both of two threads they took no
    /// less time than with one, and a post cost 14% more processor time altogether.
    pub heavy: bool,
    pub inputs: &'static [Port],
    pub outputs: &'static [Port],
}

const B: Axis = Axis::Dynamic("B");
const K: Axis = Axis::Named("K");
const DV: Axis = Axis::Named("Dv");
const DT: Axis = Axis::Named("Dt");

const fn floats(name: &'static str, axes: &'static [Axis]) -> Port {
    Port { name, element: TensorElementType::Float32, axes }
}

const fn tokens(name: &'static str) -> Port {
    Port { name, element: TensorElementType::Int64, axes: &[Axis::Dynamic("T"), Axis::Dynamic("S")] }
}

const IMAGE_EMBEDDING: Port = floats("image_embedding", &[B, DV]);
const HYPER: Port = floats("hyper", &[B, Axis::Opaque]);
const TARGET: Port = floats("target", &[B, Axis::Opaque]);

pub(super) const IMAGE_ENCODER: Contract = Contract {
    file: "image_encoder.onnx",
    stage: "image_encoder",
    heavy: true,
    inputs: &[Port {
        name: "pixels",
        element: TensorElementType::Uint8,
        axes: &[B, Axis::Named("H"), Axis::Named("W"), Axis::Exactly(3)],
    }],
    outputs: &[IMAGE_EMBEDDING],
};

pub(super) const TEXT_ENCODER: Contract = Contract {
    file: "text_encoder.onnx",
    stage: "text_encoder",
    heavy: true,
    inputs: &[tokens("input_ids"), tokens("attention_mask")],
    outputs: &[floats("text_embedding", &[Axis::Dynamic("T"), DT])],
};

pub(super) const TAGGER: Contract = Contract {
    file: super::bundle::TAGGER,
    stage: "tagger",
    heavy: false,
    inputs: &[IMAGE_EMBEDDING],
    outputs: &[floats("tag_scores", &[B, Axis::Named("C")]), floats("tag_embedding", &[B, DT])],
};

pub(super) const RELEVANCE: Contract = Contract {
    file: "relevance.onnx",
    stage: "relevance",
    heavy: false,
    inputs: &[
        IMAGE_EMBEDDING,
        floats("field_embedding", &[B, K, DT]),
        Port { name: "field_present", element: TensorElementType::Bool, axes: &[B, K] },
    ],
    outputs: &[HYPER, TARGET, floats("relevance", &[B, Axis::Named("1 + K")])],
};

pub(super) const FUSION: Contract = Contract {
    file: "fusion.onnx",
    stage: "fusion",
    heavy: false,
    inputs: &[HYPER, TARGET],
    outputs: &[floats("probabilities", &[B, Axis::Named("L")])],
};

/// The named axes' sizes: given by the manifest, or learnt from the first graph that has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sizes(BTreeMap<&'static str, (usize, &'static str)>);

impl Sizes {
    /// Sizes the manifest gives.
    pub fn given(sizes: &[(&'static str, usize)]) -> Self {
        Self(sizes.iter().map(|&(axis, size)| (axis, (size, "bundle.toml"))).collect())
    }

    /// The size of an axis of a graph that was checked.
    pub fn get(&self, axis: &'static str) -> usize {
        self.0.get(axis).map_or(0, |&(size, _)| size)
    }
}

impl Contract {
    /// Compares an opened graph with its promises. Names beyond those promised are refused too: the worker could not feed such
    /// an input, and such an output would be computed for nothing.
    pub fn check(&self, session: &Session, sizes: &mut Sizes) -> Result<(), ModelError> {
        self.check_side("inputs", session.inputs(), self.inputs, sizes)?;
        self.check_side("outputs", session.outputs(), self.outputs, sizes)
    }

    fn check_side(
        &self,
        side: &str,
        found: &[Outlet],
        promised: &'static [Port],
        sizes: &mut Sizes,
    ) -> Result<(), ModelError> {
        let names: Vec<&str> = found.iter().map(Outlet::name).collect();
        if let Some(extra) = names.iter().find(|name| promised.iter().all(|port| port.name != **name)) {
            let expected: Vec<&str> = promised.iter().map(|port| port.name).collect();
            return Err(self.broken(extra, format!("the {side} {}", expected.join(", ")), "one more".into()));
        }
        for port in promised {
            let outlet = found.iter().find(|outlet| outlet.name() == port.name);
            let outlet = outlet.ok_or_else(|| {
                self.broken(port.name, format!("{port} among the {side}"), format!("only {}", names.join(", ")))
            })?;
            self.check_port(port, outlet.dtype(), sizes)?;
        }
        Ok(())
    }

    fn check_port(&self, port: &'static Port, found: &ValueType, sizes: &mut Sizes) -> Result<(), ModelError> {
        let fits = match found {
            ValueType::Tensor { ty, shape, .. } => *ty == port.element && port.has_rank(shape.len()),
            _ => false,
        };
        let (true, ValueType::Tensor { shape, .. }) = (fits, found) else {
            return Err(self.broken(port.name, port.to_string(), found.to_string()));
        };
        for (place, (&axis, &size)) in port.axes.iter().zip(shape.iter()).enumerate() {
            let expected = match (axis, usize::try_from(size).ok()) {
                (Axis::Opaque, _) | (Axis::Dynamic(_), None) => continue,
                (Axis::Dynamic(name), Some(_)) => format!("axis {place} ({name}) to be dynamic"),
                (Axis::Exactly(wanted), Some(size)) if wanted == size => continue,
                (Axis::Exactly(wanted), _) => format!("axis {place} to be {wanted}"),
                (Axis::Named(name), None) => format!("axis {place} ({name}) to be fixed"),
                (Axis::Named(name), Some(size)) => {
                    let &mut (wanted, source) = sizes.0.entry(name).or_insert((size, self.file));
                    if wanted == size {
                        continue;
                    }
                    format!("axis {place} ({name}) to be {wanted} as in {source}")
                }
            };
            return Err(self.broken(port.name, expected, found.to_string()));
        }
        Ok(())
    }

    fn broken(&self, tensor: &str, expected: String, found: String) -> ModelError {
        ModelError::Contract { graph: self.file, tensor: tensor.into(), expected, found }
    }
}

impl Port {
    fn has_rank(&self, rank: usize) -> bool {
        match self.axes.split_last() {
            Some((Axis::Opaque, named)) => rank >= named.len(),
            _ => rank == self.axes.len(),
        }
    }

    /// The shape this output must have after a run over `rows` rows; `None` where any size will do.
    pub fn shape_of_run(&self, rows: usize, sizes: &Sizes) -> Vec<Option<usize>> {
        let size = |axis: &Axis| match *axis {
            Axis::Dynamic(_) => Some(rows),
            Axis::Named(name) => Some(sizes.get(name)),
            Axis::Exactly(size) => Some(size),
            Axis::Opaque => None,
        };
        self.axes.iter().map(size).collect()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.axes.iter().map(ToString::to_string).collect();
        write!(f, "{} [{}]", self.element, axes.join(", "))
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dynamic(name) | Self::Named(name) => f.write_str(name),
            Self::Exactly(size) => write!(f, "{size}"),
            Self::Opaque => f.write_str("…"),
        }
    }
}
