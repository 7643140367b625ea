//! Runs on a card: rows in a few fixed numbers, from pinned memory, with inputs and outputs bound.
//!
//! A card plans anew for every shape it has not seen, so the rows of a run are filled up to the next power of two with copies
//! of the last one, whose outputs nobody reads. Inputs are written into memory that the card copies from by itself, one buffer
//! a shape and kept; outputs arrive in such memory. What is computed for a row is the same as without all this.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;

use ndarray::{ArrayViewD, Axis};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, Tensor};

use super::Settings;
use super::graph::Feed;

/// Rows to run where `rows` are wanted.
pub(super) const fn filled_up(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// One input's buffers, by the rows and the rest of its shape.
type Buffers<T> = HashMap<(&'static str, Vec<usize>), Tensor<T>>;

/// A session's bindings and the buffers behind them.
#[derive(Debug)]
pub(super) struct Bound {
    binding: IoBinding,
    memory: Allocator,
    bytes: Buffers<u8>,
    integers: Buffers<i64>,
    floats: Buffers<f32>,
    flags: Buffers<bool>,
}

impl Bound {
    /// For a session on the card of `settings`.
    pub fn to_card(session: &Session, settings: &Settings) -> ort::Result<Self> {
        let pinned = MemoryInfo::new(
            AllocationDevice::CUDA_PINNED,
            settings.device_id,
            AllocatorType::Device,
            MemoryType::CPUOutput,
        )?;
        Self::to(session, pinned)
    }

    /// For a session whose inputs and outputs lie in this memory, which the processor must be able to reach.
    pub fn to(session: &Session, memory: MemoryInfo<'_>) -> ort::Result<Self> {
        let binding = session.create_binding()?;
        let memory = Allocator::new(session, memory)?;
        let (bytes, integers, floats, flags) = Default::default();
        Ok(Self { binding, memory, bytes, integers, floats, flags })
    }

    /// Runs the session; outputs have [`filled_up`] rows.
    pub fn run<'b>(
        &'b mut self,
        session: &'b mut Session,
        feeds: &[(&'static str, Feed<'_>)],
    ) -> ort::Result<SessionOutputs<'b>> {
        for (name, feed) in feeds {
            let (binding, memory) = (&mut self.binding, &self.memory);
            match feed {
                Feed::Bytes(rows) => bind(binding, memory, &mut self.bytes, name, rows)?,
                Feed::Integers(rows) => bind(binding, memory, &mut self.integers, name, rows)?,
                Feed::Floats(rows) => bind(binding, memory, &mut self.floats, name, rows)?,
                Feed::Flags(rows) => bind(binding, memory, &mut self.flags, name, rows)?,
            }
        }
        for output in session.outputs() {
            // Anew for every run: what an earlier one left there is taken for a buffer of the shape to come.
            self.binding.bind_output_to_device(output.name(), self.memory.memory_info())?;
        }
        session.run_binding(&self.binding)
    }
}

fn bind<T: PrimitiveTensorElementType + Debug + Copy + 'static>(
    binding: &mut IoBinding,
    memory: &Allocator,
    buffers: &mut Buffers<T>,
    name: &'static str,
    rows: &ArrayViewD<'_, T>,
) -> ort::Result<()> {
    let mut shape = rows.shape().to_vec();
    if let Some(count) = shape.first_mut() {
        *count = filled_up(*count);
    }
    let buffer = match buffers.entry((name, shape)) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let shape: Vec<i64> = new.key().1.iter().filter_map(|&size| i64::try_from(size).ok()).collect();
            new.insert(Tensor::new(memory, shape)?)
        }
    };
    fill(buffer.extract_tensor_mut().1, rows);
    binding.bind_input(name, buffer)
}

/// The rows, then the last one again and again.
fn fill<T: Copy>(places: &mut [T], rows: &ArrayViewD<'_, T>) {
    let standard = rows.as_standard_layout();
    let numbers = standard.as_slice().unwrap_or_default();
    let (given, missing) = places.split_at_mut(numbers.len().min(places.len()));
    given.copy_from_slice(numbers);
    let row = numbers.len() / rows.len_of(Axis(0)).max(1);
    let last = numbers.get(numbers.len() - row..).unwrap_or_default();
    for (place, number) in missing.iter_mut().zip(last.iter().cycle()) {
        *place = *number;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, array};

    use super::*;

    #[test]
    fn rows_are_filled_up_with_the_last() {
        let rows = array![[1, 2], [3, 4], [5, 6]].into_dyn();
        let mut places = [0; 8];
        fill(&mut places, &rows.view());
        assert_eq!(places, [1, 2, 3, 4, 5, 6, 5, 6]);
        let mut whole = [0; 6];
        fill(&mut whole, &rows.view());
        assert_eq!(whole, [1, 2, 3, 4, 5, 6]);
        fill(&mut whole, &Array::<i32, _>::zeros((0, 2)).into_dyn().view());
        assert_eq!([1, 2, 3, 5, 64].map(filled_up), [1, 2, 4, 8, 64]);
    }
}
