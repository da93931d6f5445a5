//! The tape: the recorded ops of a computation, from which the backward pass computes gradients.

use crate::profile::{self, Part};
use crate::tensor::{Tensor, accumulate};
use crate::{DType, Error, Result};
use kernels::Shape;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A list of ops in the order in which they ran. One backward pass consumes it; there are no higher-order gradients.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    entries: Vec<Entry>,
    nodes: usize,
    played: bool,
}

/// The node of a tensor on a tape.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    tape: Tape,
    node: usize,
}

struct Entry {
    output: usize,
    inputs: Vec<Option<usize>>,
    step: Step,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match &self.step {
            Step::Op(record) => record.name(),
            Step::Reshape(_) => "reshape",
        };
        write!(f, "{name} {:?} -> {}", self.inputs, self.output)
    }
}

/// The gradient of one input, to be written or added to.
pub(crate) struct Slot {
    pub gradient: Tensor,
    /// Whether to add to `gradient`; otherwise it is uninitialised.
    pub add: bool,
}

/// One op on the tape.
pub(crate) trait Record: Send {
    fn name(&self) -> &'static str;
    /// Its place in the model.
    fn scope(&self) -> profile::Scope;
    /// Floating-point operations and bytes of its backward pass.
    fn work(&self) -> (f64, f64);
    /// Writes or adds the gradient of each input into its slot.
    fn backward(self: Box<Self>, grad_output: Tensor, slots: &mut [Option<Slot>]) -> Result<()>;
    /// Shape and type of each input, which its gradient has too.
    fn inputs(&self) -> Vec<(Shape, DType)>;
}

/// A step on the tape: an op, or a change of shape, for which the gradient is not copied.
pub(crate) enum Step {
    Op(Box<dyn Record>),
    Reshape(Shape),
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Tape::default()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tensor as a leaf of this tape: [`backward`](Self::backward) computes its gradient.
    pub fn leaf(&self, tensor: &Tensor) -> Tensor {
        let mut list = self.list();
        list.nodes += 1;
        let place = Place { tape: self.clone(), node: list.nodes - 1 };
        drop(list);
        tensor.detached().placed(place)
    }

    /// The number of recorded ops.
    pub fn len(&self) -> usize {
        self.list().entries.len()
    }

    /// Whether no op is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tape of these tensors; `None` if all are constants.
    pub(crate) fn of(inputs: &[&Tensor]) -> Result<Option<Tape>> {
        let mut tapes = inputs.iter().filter_map(|x| x.place()).map(|place| &place.tape);
        let Some(first) = tapes.next() else { return Ok(None) };
        if tapes.any(|tape| !Arc::ptr_eq(&tape.list, &first.list)) {
            return Err(Error::Tape(
                "the inputs of one op are on different tapes; detach those of the older tape",
            ));
        }
        Ok(Some(first.clone()))
    }

    pub(crate) fn record(&self, inputs: &[&Tensor], output: Tensor, step: Step) -> Result<Tensor> {
        let mut list = self.list();
        if list.played {
            return Err(Error::Tape(
                "backward was called on this tape already; record each step on a new tape",
            ));
        }
        let node = list.nodes;
        list.nodes += 1;
        let inputs = inputs.iter().map(|x| x.place().map(|place| place.node)).collect();
        list.entries.push(Entry { output: node, inputs, step });
        drop(list);
        Ok(output.placed(Place { tape: self.clone(), node }))
    }

    /// Computes the gradient of a scalar with respect to each leaf.
    ///
    /// Each op's kept buffers are freed after its backward pass.
    ///
    /// # Errors
    /// When the loss does not have exactly one element, or is not on this tape.
    pub fn backward(self, loss: &Tensor) -> Result<Gradients> {
        if loss.count() != 1 {
            return Err(Error::Tape("the loss must have exactly one element; reduce it first"));
        }
        let Some(place) = loss.place().filter(|place| Arc::ptr_eq(&place.tape.list, &self.list))
        else {
            return Err(Error::Tape(
                "the loss is not on this tape: compute it from a leaf of this tape",
            ));
        };
        let one = Tensor::ones(loss)?;
        let start = place.node;
        let (mut entries, nodes) = {
            let mut list = self.list();
            list.played = true;
            (std::mem::take(&mut list.entries), list.nodes)
        };
        let mut gradients: Vec<Option<Tensor>> = Vec::new();
        gradients.resize_with(nodes, || None);
        gradients[start] = Some(one);
        while let Some(entry) = entries.pop() {
            let Some(grad_output) = gradients[entry.output].take() else { continue };
            play(entry, grad_output, &mut gradients)?;
        }
        Ok(Gradients { tape: self, by_node: gradients })
    }
}

fn play(entry: Entry, grad_output: Tensor, gradients: &mut [Option<Tensor>]) -> Result<()> {
    match entry.step {
        Step::Reshape(input) => {
            let through = grad_output.reshaped(input);
            drop(grad_output);
            entry
                .inputs
                .into_iter()
                .flatten()
                .try_for_each(|node| gather(&mut gradients[node], through.clone()))
        }
        Step::Op(record) => {
            let open = profile::open(record.scope(), record.name(), Part::Backward);
            open.work(|| record.work());
            let device = grad_output.device();
            // A tensor that is two inputs of one op gets one slot for each; the sum follows.
            let fill = |(node, (shape, dtype)): (&Option<usize>, (Shape, DType))| {
                let fill = |node: usize| match gradients[node].take() {
                    Some(gradient) => Ok(Slot { gradient, add: true }),
                    None => {
                        let gradient = Tensor::uninitialised_on(shape, dtype, &device)?;
                        Ok(Slot { gradient, add: false })
                    }
                };
                node.map(fill).transpose()
            };
            let mut slots: Vec<_> =
                entry.inputs.iter().zip(record.inputs()).map(fill).collect::<Result<_>>()?;
            record.backward(grad_output, &mut slots)?;
            let filled = entry
                .inputs
                .into_iter()
                .zip(slots)
                .filter_map(|(node, slot)| Some((node?, slot?.gradient)));
            filled
                .into_iter()
                .try_for_each(|(node, gradient)| gather(&mut gradients[node], gradient))
        }
    }
}

/// Adds a gradient to the sum of a node's gradients.
fn gather(sum: &mut Option<Tensor>, gradient: Tensor) -> Result<()> {
    match sum {
        Some(sum) => accumulate(sum, &gradient),
        None => {
            *sum = Some(gradient);
            Ok(())
        }
    }
}

/// The gradients of a tape's leaves.
#[derive(Debug)]
pub struct Gradients {
    tape: Tape,
    by_node: Vec<Option<Tensor>>,
}

impl Gradients {
    /// The gradient of a leaf; `None` if the loss does not depend on it.
    pub fn get(&self, leaf: &Tensor) -> Option<&Tensor> {
        self.by_node[self.node(leaf)?].as_ref()
    }

    /// Removes and returns the gradient of a leaf.
    pub fn take(&mut self, leaf: &Tensor) -> Option<Tensor> {
        let node = self.node(leaf)?;
        self.by_node[node].take()
    }

    fn node(&self, leaf: &Tensor) -> Option<usize> {
        let place = leaf.place()?;
        Arc::ptr_eq(&place.tape.list, &self.tape.list).then_some(place.node)
    }
}
