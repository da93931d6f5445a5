//! A system with two phases and a teacher: each module has its own optimiser, frozen networks do not change, and a
//! resumed run gives the same bits.

use super::*;
use crate::backbones::{BackboneSettings, StridedConvNetSettings};
use crate::heads::Prediction;
use crate::systems::{
    Batch, EncoderSettings, Encoders, LateFusionSettings, Loss, Outputs, Parts, Phase, Plateau,
    System, SystemSettings, Teacher,
};
use crate::targets::Task;
use engine::checkpoint::Checkpoint;
use engine::optim::Rule;
use engine::schedule::Schedule;
use engine::{DType, Parameters, Pass, Philox, Result, Scope, Tensor};

const CLASSES: usize = 3;
const SHAPE: [usize; 2] = [8, 4];

/// A student: the first phase learns the teacher's logits, the second a head on frozen encoders.
#[derive(Debug)]
struct Student {
    teacher: Teacher,
    encoders: Encoders,
    imitation: Prediction,
    head: Prediction,
    task: Task,
}

impl Student {
    fn new(parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let task = parts.task("student")?.clone();
        let teacher = parts.teacher("student", &mut scope)?;
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let width = encoders.widths().iter().sum();
        let imitation = Prediction::new(scope.sub("imitation"), width, 0, CLASSES, 0.0)?;
        let head = Prediction::new(scope.sub("head"), width, 0, CLASSES, 0.5)?;
        Ok(Student { teacher, encoders, imitation, head, task })
    }

    fn joined(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Tensor> {
        let features = self.encoders.forward_filled(pass, batch)?;
        Tensor::concat(&features.iter().collect::<Vec<_>>(), 1)
    }
}

impl System for Student {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let logits = self.head.forward(pass, &self.joined(pass, batch)?)?;
        Ok(Outputs { logits: Some(logits), ..Outputs::default() })
    }

    fn phases(&self) -> Vec<Phase> {
        vec![Phase::of(&["voice.", "imitation."]), Phase::of(&["head."])]
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, phase: usize) -> Result<Loss> {
        if phase == 1 {
            return self.task.loss_of("student", &self.outputs(pass, batch)?, batch);
        }
        let wanted = self.teacher.outputs(pass, batch)?.logits;
        let wanted = wanted.ok_or(engine::Error::Tape("the teacher has logits"))?;
        self.imitation.forward(pass, &self.joined(pass, batch)?)?.mse(&wanted).map(Loss::from)
    }

    fn plateau(&self, _batch: usize) -> Option<Plateau> {
        None
    }
}

fn encoders() -> Vec<EncoderSettings> {
    vec![EncoderSettings {
        name: "voice".into(),
        backbone: BackboneSettings::StridedConv(StridedConvNetSettings {
            width: 4,
            layers: 1,
            ..Default::default()
        }),
        dropout: 0.0,
        input: SHAPE.to_vec(),
    }]
}

fn settings() -> TrainingSettings {
    TrainingSettings {
        epochs: 2,
        batch: 4,
        optimizer: Rule::adam(1e-3),
        learning_rate: 1e-2,
        schedule: Schedule::Constant,
        patience: None,
    }
}

fn batch(number: u64) -> Result<Batch> {
    let random = Philox::new(7, "batch").at(number);
    let values: Vec<f32> =
        (0..4 * SHAPE.iter().product::<usize>() as u64).map(|i| random.normal(i) as f32).collect();
    let data = Tensor::from_slice(&values, &[4, SHAPE[0], SHAPE[1]])?;
    Ok(Batch::labelled(vec![data], Tensor::from_slice(&[0u32, 1, 2, 0], &[4])?))
}

fn student() -> Result<(Student, Parameters)> {
    let task = Task::OneOf(CLASSES);
    let encoders = encoders();
    let teacher = SystemSettings::LateFusion(LateFusionSettings::default());
    let parts = Parts { teacher: Some(&teacher), ..Parts::new(&encoders, Some(&task)) };
    let mut parameters = Parameters::new(DType::F32, 3);
    let student = Student::new(parts, parameters.scope())?;
    assert!(parameters.freeze("teacher.") > 0);
    Ok((student, parameters))
}

/// The elements of all parameters whose names start with `prefix`.
fn numbers(parameters: &Parameters, prefix: &str) -> Result<Vec<f64>> {
    let ids = parameters.ids().filter(|id| parameters.name(*id).starts_with(prefix));
    let values: Vec<Vec<f64>> =
        ids.map(|id| parameters.value(id).to_vec()).collect::<Result<_>>()?;
    Ok(values.concat())
}

#[test]
fn phases_update_their_modules_alone_and_a_teacher_stays_as_it_is() -> Result<()> {
    let (student, parameters) = student()?;
    let before = parameters.clone();
    let mut trainer = Trainer::new(&settings(), &student, parameters, 1, 4)?;
    trainer.step(&student, &batch(0)?)?;
    let after = trainer.parameters();
    assert_eq!(numbers(&before, "teacher.")?, numbers(after, "teacher.")?);
    for module in ["voice.", "imitation.", "head."] {
        assert_ne!(numbers(&before, module)?, numbers(after, module)?, "{module}");
    }
    Ok(())
}

#[test]
fn a_run_with_phases_goes_on_bit_for_bit() -> Result<()> {
    let (student, parameters) = student()?;
    let epochs = Epochs(|epoch| (0..4).map(move |step| batch(4 * epoch + step)));
    let mut whole = Trainer::new(&settings(), &student, parameters.clone(), 1, 4)?;
    fit(&mut whole, &student, &epochs)?;

    let mut first = Trainer::new(&settings(), &student, parameters.clone(), 1, 4)?;
    for step in 0..3 {
        first.step(&student, &batch(step)?)?;
    }
    let folder = tempfile::tempdir().map_err(|_| engine::Error::Tape("no folder"))?;
    let path = folder.path().join("state.safetensors");
    first.save()?.save(&path)?;
    let mut second = Trainer::new(&settings(), &student, parameters, 1, 4)?;
    second.restore(&Checkpoint::load(&path)?)?;
    fit(&mut second, &student, &epochs)?;
    assert_eq!(numbers(whole.parameters(), "")?, numbers(second.parameters(), "")?);
    assert_eq!(whole.history(), second.history());
    Ok(())
}

#[test]
fn modules_must_not_overlap_and_must_hold_every_parameter() -> Result<()> {
    #[derive(Debug)]
    struct Odd(Student, Vec<Phase>);
    impl System for Odd {
        fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
            self.0.outputs(pass, batch)
        }
        fn phases(&self) -> Vec<Phase> {
            self.1.clone()
        }
        fn loss(&self, pass: &Pass<'_>, batch: &Batch, phase: usize) -> Result<Loss> {
            self.0.loss(pass, batch, phase)
        }
        fn plateau(&self, _batch: usize) -> Option<Plateau> {
            None
        }
    }
    let refused = |phases: Vec<Phase>| -> Result<String> {
        let (student, parameters) = student()?;
        let trainer = Trainer::new(&settings(), &Odd(student, phases), parameters, 1, 4);
        Ok(trainer.err().map(|error| error.to_string()).unwrap_or_default())
    };
    let overlap = refused(vec![Phase::of(&["voice."]), Phase::of(&[""])])?;
    assert!(overlap.contains("shares parameters with module voice."), "{overlap}");
    let left_out = refused(vec![Phase::of(&["voice.", "head."])])?;
    assert!(left_out.contains("no gradient reached imitation."), "{left_out}");
    Ok(())
}
