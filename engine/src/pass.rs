//! One pass over a model: its parameters on a tape (or not), its random streams, its new statistics.

use crate::device::gpu_error;
use crate::{DType, Device, Error, Kind, ParameterId, Parameters, Philox, Result, Tape, Tensor};
use kernels::gpu::{self, Pointer, Table};
use std::cell::{Cell, RefCell};

/// What a model's forward function is handed besides its input.
#[derive(Debug)]
pub struct Pass<'a> {
    parameters: &'a Parameters,
    tape: Option<Tape>,
    training: bool,
    /// Whether a gradient is asked for, by parameter.
    updated: Vec<bool>,
    leaves: RefCell<Vec<Option<Tensor>>>,
    random: Philox,
    streams: Cell<u64>,
    statistics: RefCell<Statistics>,
}

impl<'a> Pass<'a> {
    /// A pass of training: recorded, with dropout drawn from `random` and batch statistics.
    pub fn train(parameters: &'a Parameters, random: Philox) -> Self {
        Pass::new(parameters, Some(Tape::new()), true, random)
    }

    /// A pass of evaluation: nothing recorded, no dropout, running statistics.
    pub fn evaluate(parameters: &'a Parameters) -> Self {
        Pass::new(parameters, None, false, Philox::new(0, "unused"))
    }

    /// A pass that behaves as in training but records nothing: to measure batch-norm statistics.
    pub fn calibrate(parameters: &'a Parameters) -> Self {
        Pass::new(parameters, None, true, Philox::new(0, "calibrate"))
    }

    /// A pass that behaves as in evaluation but is recorded, for gradients through running statistics.
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

    /// Asks for gradients of these trainable parameters alone; the others are constants.
    pub fn updating(mut self, ids: &[ParameterId]) -> Self {
        let mut updated = vec![false; self.updated.len()];
        ids.iter().for_each(|id| updated[id.0] = self.updated[id.0]);
        self.updated = updated;
        self
    }

    /// Whether dropout drops and batch norm measures.
    pub fn training(&self) -> bool {
        self.training
    }

    /// The parameters, e.g. for a pass of evaluation over frozen networks within a pass of training.
    pub fn parameters(&self) -> &'a Parameters {
        self.parameters
    }

    /// Where the parameters lie, and everything is computed.
    pub fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// What the parameters are, and activations with them.
    pub fn dtype(&self) -> DType {
        self.parameters.dtype()
    }

    /// A parameter's numbers; on the tape if its gradient is asked for and the pass is recorded.
    pub fn get(&self, id: ParameterId) -> Tensor {
        let value = self.parameters.value(id);
        match &self.tape {
            Some(tape) if self.updated[id.0] => {
                self.leaves.borrow_mut()[id.0].get_or_insert_with(|| tape.leaf(value)).clone()
            }
            _ => value.detached(),
        }
    }

    /// A random stream of its own for each call, in the order of the calls.
    pub fn stream(&self) -> Philox {
        self.streams.set(self.streams.get() + 1);
        self.random.at(self.streams.get())
    }

    /// Notes what a batch says of a statistic, of the statistic's shape: its new value is `keep` of the old and `take`
    /// of `now`. It takes effect with [`Optimizer::step`](crate::optim::Optimizer::step) or [`Statistics::apply`]; of
    /// several notes of one statistic the last counts.
    pub fn note_statistic(&self, id: ParameterId, now: Tensor, keep: f64, take: f64) {
        let mut statistics = self.statistics.borrow_mut();
        statistics.0.retain(|note| note.id != id);
        statistics.0.push(Note { id, now, keep, take });
    }

    /// Plays the tape back from the loss, without waiting for a GPU.
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

    /// Ends a pass without gradients: what it measured.
    pub fn finish(self) -> Statistics {
        self.statistics.into_inner()
    }
}

/// What a pass of training leaves, for [`Optimizer::step`](crate::optim::Optimizer::step).
#[derive(Debug)]
pub struct Outcome {
    /// The loss, one number, where it was computed.
    pub loss: Tensor,
    /// The gradient of every trainable parameter.
    pub gradients: ParameterGradients,
    /// What the batch says of the running statistics.
    pub statistics: Statistics,
    pub(crate) watched: Vec<Tensor>,
}

impl Outcome {
    /// The same outcome with a tensor that is to be read together with the loss, e.g. the loss's parts.
    pub fn watching(mut self, tensor: &Tensor) -> Self {
        self.watched.push(tensor.detached());
        self
    }
}

/// What a batch says of running statistics.
#[derive(Debug, Default)]
pub struct Statistics(pub(crate) Vec<Note>);

/// The new value of a statistic: `keep` of the old and `take` of what is now.
#[derive(Debug)]
pub(crate) struct Note {
    pub id: ParameterId,
    pub now: Tensor,
    pub keep: f64,
    pub take: f64,
}

impl Statistics {
    /// Moves the running statistics, after a pass of [`Pass::calibrate`]; in training the optimiser does.
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

    /// The same in one launch, unless the latch is shut.
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
