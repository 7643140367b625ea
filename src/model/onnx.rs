//! What a graph's file holds that ONNX Runtime does not tell: the operators, and whether weights lie in other files. Reads
//! just enough of the protobuf encoding (wire types and the handful of field numbers below, which ONNX never renumbers) to walk
//! the main graph, the branches inside its nodes and the bodies of its functions.

/// A graph's file, looked through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The first operator found that quantises by what the batch holds.
    pub dynamic_quantisation: Option<String>,
    /// Whether a tensor's data lies outside the file.
    pub external_data: bool,
    /// Nodes, in all graphs and functions.
    pub nodes: usize,
}

/// The file is not protobuf of ONNX's form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Branches within branches; real graphs have two or three.
const DEEPEST: usize = 32;

/// The messages of `onnx.proto` on the way to a node or tensor.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

impl Message {
    /// What a length-delimited field of this message holds, where it leads on.
    fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            _ => return None,
        })
    }
}

const OP_TYPE: u64 = 4;
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;

/// Looks through the bytes of an `.onnx` file.
pub(super) fn contents(file: &[u8]) -> Result<Contents, Malformed> {
    let mut contents = Contents::default();
    walk(file, Message::Model, 0, &mut contents)?;
    if contents.nodes == 0 { Err(Malformed) } else { Ok(contents) }
}

fn walk(mut bytes: &[u8], message: Message, depth: usize, contents: &mut Contents) -> Result<(), Malformed> {
    if depth > DEEPEST {
        return Err(Malformed);
    }
    if matches!(message, Message::Node) {
        contents.nodes += 1;
    }
    while !bytes.is_empty() {
        let (field, value) = next_field(&mut bytes)?;
        match (message, field, value) {
            (Message::Node, OP_TYPE, Value::Bytes(name)) => note_operator(name, contents),
            (Message::Tensor, DATA_LOCATION, Value::Number(1)) | (Message::Tensor, EXTERNAL_DATA, Value::Bytes(_)) => {
                contents.external_data = true;
            }
            (_, _, Value::Bytes(inner)) => {
                if let Some(child) = message.child(field) {
                    walk(inner, child, depth + 1, contents)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn note_operator(name: &[u8], contents: &mut Contents) {
    if name.starts_with(b"DynamicQuantize") && contents.dynamic_quantisation.is_none() {
        contents.dynamic_quantisation = Some(String::from_utf8_lossy(name).into_owned());
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Value<'a>), Malformed> {
    let tag = varint(bytes)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| Malformed)?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Value::Fixed)?,
        _ => return Err(Malformed),
    };
    Ok((tag >> 3, value))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn read(file: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bundles").join(file)).expect("fixture")
    }

    #[test]
    fn dynamic_quantisation_is_found_wherever_it_hides() {
        for file in ["quantised", "quantised_in_function", "quantised_in_branch"] {
            let found = contents(&read(&format!("broken/{file}.onnx"))).expect("well formed");
            assert_eq!(found.dynamic_quantisation.as_deref(), Some("DynamicQuantizeLinear"), "{file}");
        }
    }

    #[test]
    fn an_honest_graph_has_neither() {
        let found = contents(&read("tiny/image_encoder.onnx")).expect("well formed");
        assert_eq!(found, Contents { dynamic_quantisation: None, external_data: false, nodes: 11 });
    }

    #[test]
    fn weights_in_another_file_are_seen() {
        assert!(contents(&read("broken/external.onnx")).expect("well formed").external_data);
    }

    #[test]
    fn what_is_no_graph_is_malformed() {
        let whole = read("tiny/fusion.onnx");
        assert_eq!(contents(&whole[..whole.len() - 9]), Err(Malformed), "cut short");
        assert_eq!(contents(b"not a graph"), Err(Malformed));
        assert_eq!(contents(b""), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = contents(&bytes);
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0usize..830, byte in any::<u8>()) {
            let mut bytes = read("tiny/image_encoder.onnx");
            bytes[at] = byte;
            let _ = contents(&bytes);
        }
    }
}
