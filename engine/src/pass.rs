//! One pass over a model: its parameters on a tape (or not), its random streams, its new statistics.

use crate::{DType, Device, Error, Kind, ParameterId, Parameters, Philox, Result, Tape, Tensor};
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
    statistics: RefCell<Vec<(ParameterId, Tensor)>>,
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

    /// Notes the new value of a statistic; it takes effect with [`Statistics::apply`].
    pub fn note_statistic(&self, id: ParameterId, value: Tensor) {
        self.statistics.borrow_mut().push((id, value));
    }

    /// Plays the tape back from the loss.
    ///
    /// # Errors
    /// When the loss is not finite, or a trainable parameter received no gradient.
    pub fn backward(self, loss: &Tensor) -> Result<Outcome> {
        let value = loss.item()?;
        if !value.is_finite() {
            return Err(Error::NotFinite { what: "the loss".into() });
        }
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
            loss: value,
            gradients: ParameterGradients { by_parameter },
            statistics: Statistics(self.statistics.into_inner()),
        })
    }

    /// Ends a pass without gradients: what it measured.
    pub fn finish(self) -> Statistics {
        Statistics(self.statistics.into_inner())
    }
}

/// What a pass of training leaves: gradients and new statistics.
#[derive(Debug)]
pub struct Outcome {
    /// The loss.
    pub loss: f64,
    /// The gradient of every trainable parameter.
    pub gradients: ParameterGradients,
    /// The new running statistics.
    pub statistics: Statistics,
}

/// New values of statistics.
#[derive(Debug, Default)]
pub struct Statistics(Vec<(ParameterId, Tensor)>);

impl Statistics {
    /// Puts the new values in place.
    pub fn apply(self, parameters: &mut Parameters) {
        for (id, value) in self.0 {
            *parameters.value_mut(id) = value;
        }
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

    /// The Euclidean norm of all gradients together, summed in the order of the parameters.
    ///
    /// # Errors
    /// When a gradient is not finite; the message names its parameter.
    pub fn norm(&self, parameters: &Parameters) -> Result<f64> {
        let present = parameters.trainable().filter_map(|id| Some((id, self.get(id)?)));
        let (ids, gradients): (Vec<_>, Vec<_>) = present.unzip();
        let mut total = 0.0;
        for (id, square) in ids.into_iter().zip(crate::optim::squares(&gradients)?) {
            if !square.is_finite() {
                return Err(Error::NotFinite {
                    what: format!("the gradient of {}", parameters.name(id)),
                });
            }
            total += square;
        }
        Ok(total.sqrt())
    }
}
