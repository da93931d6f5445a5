//! One forward pass of a model: its parameters, tape, random streams and new running statistics.

use crate::device::gpu_error;
use crate::{DType, Device, Error, Kind, ParameterId, Parameters, Philox, Result, Tape, Tensor};
use kernels::gpu::{self, Pointer, Table};
use std::cell::{Cell, RefCell};

/// The context of one forward pass. A model's forward function takes it with the input.
#[derive(Debug)]
pub struct Pass<'a> {
    parameters: &'a Parameters,
    tape: Option<Tape>,
    training: bool,
    /// For each parameter, whether its gradient is computed.
    updated: Vec<bool>,
    leaves: RefCell<Vec<Option<Tensor>>>,
    random: Philox,
    streams: Cell<u64>,
    statistics: RefCell<Statistics>,
}

impl<'a> Pass<'a> {
    /// A training pass: recorded, with batch statistics, and with dropout from `random`.
    pub fn train(parameters: &'a Parameters, random: Philox) -> Self {
        Pass::new(parameters, Some(Tape::new()), true, random)
    }

    /// An evaluation pass: not recorded, without dropout, with running statistics.
    pub fn evaluate(parameters: &'a Parameters) -> Self {
        Pass::new(parameters, None, false, Philox::new(0, "unused"))
    }

    /// A training pass without recording, to measure batch norm's statistics.
    pub fn calibrate(parameters: &'a Parameters) -> Self {
        Pass::new(parameters, None, true, Philox::new(0, "calibrate"))
    }

    /// An evaluation pass with recording, for gradients through running statistics.
    pub fn evaluate_recorded(parameters: &'a Parameters) -> Self {
        Pass::new(parameters, Some(Tape::new()), false, Philox::new(0, "unused"))
    }

    fn new(parameters: &'a Parameters, tape: Option<Tape>, training: bool, random: Philox) -> Self {
        let updated: Vec<bool> =
            parameters.ids().map(|id| parameters.kind(id) == Kind::Trainable).collect();
        let leaves = RefCell::new(vec![None; updated.len()]);
        Pass {
            parameters,
            tape,
            training,
            updated,
            leaves,
            random,
            streams: Cell::new(0),
            statistics: RefCell::default(),
        }
    }

    /// Computes gradients of these trainable parameters only; the others are constants.
    pub fn updating(mut self, ids: &[ParameterId]) -> Self {
        let mut updated = vec![false; self.updated.len()];
        ids.iter().for_each(|id| updated[id.0] = self.updated[id.0]);
        self.updated = updated;
        self
    }

    /// Whether dropout is applied and batch norm uses batch statistics.
    pub fn training(&self) -> bool {
        self.training
    }

    /// The parameters, e.g. for an evaluation pass of a frozen network inside a training pass.
    pub fn parameters(&self) -> &'a Parameters {
        self.parameters
    }

    /// The device of the parameters, on which all ops of the pass run.
    pub fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// The element type of the parameters and of activations.
    pub fn dtype(&self) -> DType {
        self.parameters.dtype()
    }

    /// A parameter's value; on the tape if its gradient is computed and the pass is recorded.
    pub fn get(&self, id: ParameterId) -> Tensor {
        crate::profile::enter_module_of(self.parameters.name(id));
        let value = self.parameters.value(id);
        match &self.tape {
            Some(tape) if self.updated[id.0] => {
                self.leaves.borrow_mut()[id.0].get_or_insert_with(|| tape.leaf(value)).clone()
            }
            _ => value.detached(),
        }
    }

    /// A new random stream for each call, a function of the pass's stream and the number of earlier calls.
    pub fn stream(&self) -> Philox {
        self.streams.set(self.streams.get() + 1);
        self.random.at(self.streams.get())
    }

    /// Records a batch's value `now` of a running statistic, of its shape: the new value is keep * old + take * now.
    /// [`Optimizer::step`](crate::optim::Optimizer::step) or [`Statistics::apply`] applies it. Of several records of a
    /// statistic the last counts.
    pub fn note_statistic(&self, id: ParameterId, now: Tensor, keep: f64, take: f64) {
        let mut statistics = self.statistics.borrow_mut();
        statistics.0.retain(|note| note.id != id);
        statistics.0.push(Note { id, now, keep, take });
    }

    /// Runs the backward pass from the loss (one element), without waiting for a GPU.
    ///
    /// # Errors
    /// When a trainable parameter received no gradient.
    pub fn backward(self, loss: &Tensor) -> Result<Outcome> {
        let Some(tape) = self.tape else {
            return Err(Error::Tape("this pass was not recorded; use Pass::train"));
        };
        let mut gradients = tape.backward(loss)?;
        let leaves = self.leaves.into_inner();
        let by_parameter: Vec<Option<Tensor>> =
            leaves.iter().map(|leaf| leaf.as_ref().and_then(|leaf| gradients.take(leaf))).collect();
        let missing: Vec<String> = self
            .parameters
            .ids()
            .filter(|id| self.updated[id.0] && by_parameter[id.0].is_none())
            .map(|id| self.parameters.name(id).to_owned())
            .collect();
        if !missing.is_empty() {
            return Err(Error::NoGradient { names: missing });
        }
        Ok(Outcome {
            loss: loss.detached(),
            gradients: ParameterGradients { by_parameter },
            statistics: self.statistics.into_inner(),
            watched: Vec::new(),
        })
    }

    /// Ends the pass without a backward pass; returns the new running statistics.
    pub fn finish(self) -> Statistics {
        self.statistics.into_inner()
    }
}

/// The result of a backward pass, for [`Optimizer::step`](crate::optim::Optimizer::step).
#[derive(Debug)]
pub struct Outcome {
    /// The loss, one element, on the device of the parameters.
    pub loss: Tensor,
    /// The gradient of every trainable parameter.
    pub gradients: ParameterGradients,
    /// The batch's running statistics.
    pub statistics: Statistics,
    pub(crate) watched: Vec<Tensor>,
}

impl Outcome {
    /// Adds a tensor that is read together with the loss ([`Figures::watched`](crate::optim::Figures::watched)), e.g. a
    /// part of the loss.
    pub fn watching(mut self, tensor: &Tensor) -> Self {
        self.watched.push(tensor.detached());
        self
    }
}

/// A batch's values of running statistics, not yet applied.
#[derive(Debug, Default)]
pub struct Statistics(pub(crate) Vec<Note>);

/// A batch's value of one statistic: the new value is keep * old + take * now.
#[derive(Debug)]
pub(crate) struct Note {
    pub id: ParameterId,
    pub now: Tensor,
    pub keep: f64,
    pub take: f64,
}

impl Statistics {
    /// Updates the running statistics. Call it after [`Pass::calibrate`]; in training the optimiser does it.
    ///
    /// # Errors
    /// When work on a GPU fails.
    pub fn apply(self, parameters: &mut Parameters) -> Result<()> {
        match parameters.device().clone() {
            Device::Gpu(gpu) => {
                let mut table = Table::default();
                self.apply_on_gpu(&gpu, parameters, &mut table, Pointer::NULL)
            }
            Device::Cpu => {
                for Note { id, now, keep, take } in self.0 {
                    let old = parameters.value(id);
                    let pairs = old.to_vec()?.into_iter().zip(now.to_vec()?);
                    let mixed: Vec<f64> = pairs.map(|(old, now)| keep * old + take * now).collect();
                    let mixed = Tensor::from_slice(&mixed, &old.shape())?.to(old.dtype())?;
                    *parameters.value_mut(id) = mixed;
                }
                Ok(())
            }
        }
    }

    /// [`apply`](Self::apply) on a GPU in one launch, unless the latch is shut.
    pub(crate) fn apply_on_gpu(
        self,
        gpu: &gpu::Device,
        parameters: &mut Parameters,
        table: &mut Table<gpu::Statistic>,
        latch: Pointer,
    ) -> Result<()> {
        let device = Device::Gpu(gpu.clone());
        let mut rows = Vec::new();
        let mut there = Vec::new();
        for Note { id, now, keep, take } in self.0 {
            let (value, now) = (parameters.value_mut(id), now.on(&device)?);
            value.make_own(&device)?;
            let (value, count) = (value.pointer(), value.count() as i64);
            rows.push(gpu::Statistic { value, now: now.pointer(), count, keep, take });
            there.push(now);
        }
        table.replace(gpu, rows).and_then(|()| gpu.blend(table, latch)).map_err(gpu_error)
    }
}

/// The gradients of parameters.
#[derive(Debug)]
pub struct ParameterGradients {
    by_parameter: Vec<Option<Tensor>>,
}

impl ParameterGradients {
    /// The gradient of a parameter; `None` for frozen ones and statistics.
    pub fn get(&self, id: ParameterId) -> Option<&Tensor> {
        self.by_parameter.get(id.0)?.as_ref()
    }
}
