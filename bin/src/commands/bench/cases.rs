//! What is measured, and under which names.

/// A network, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// R(2+1)D-18 on clips of ten frames of 112 x 112.
    Face,
    /// The Transformer on 30 words.
    Text,
    /// Yu et al.'s graph network on 30 frames of 51 points.
    Landmarks,
    /// Yan et al.'s graph network on 30 frames of 68 points.
    LandmarksYan,
    /// The temporal convolutions on 128 frames of 80 bands.
    Voice,
    /// MPUC with four modalities.
    Mpuc,
}

impl Subject {
    /// Whether a repeat takes seconds.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Subject::Face | Subject::Mpuc)
    }

    /// The name here, and the name and batch of the same case in the comparison with PyTorch.
    fn names(self) -> (&'static str, Option<(&'static str, usize)>) {
        match self {
            Subject::Face => ("face", Some(("face-t10", 8))),
            Subject::Text => ("text", Some(("text", 32))),
            Subject::Landmarks => ("landmarks", Some(("landmark-yu51", 32))),
            Subject::LandmarksYan => ("landmarks-yan", Some(("landmark-yan68", 32))),
            Subject::Voice => ("voice", Some(("acoustic", 32))),
            Subject::Mpuc => ("mpuc", None),
        }
    }
}

/// How much of a training step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The network, as in training, without a tape.
    Forward,
    /// Network, head, loss and all gradients.
    Backward,
    /// The same and the optimiser.
    Step,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Forward => "fwd",
            Phase::Backward => "fwd+bwd",
            Phase::Step => "step",
        }
    }
}

/// Something to be measured once and reported under each of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) names: Vec<String>,
    pub(super) subject: Subject,
    pub(super) phase: Phase,
    pub(super) batch: usize,
}

impl Case {
    /// The case under those of its names that are asked for, if any is.
    pub(super) fn only(&self, asked: &impl Fn(&String) -> bool) -> Option<Case> {
        let names: Vec<String> = self.names.iter().filter(|name| asked(name)).cloned().collect();
        (!names.is_empty()).then(|| Case { names, ..self.clone() })
    }
}

/// All cases: at batch 8 and at the batches of the comparison, or all at one batch.
pub(super) fn all(batch: Option<usize>) -> Vec<Case> {
    let subjects = [
        Subject::Voice,
        Subject::Landmarks,
        Subject::LandmarksYan,
        Subject::Text,
        Subject::Face,
        Subject::Mpuc,
    ];
    let phases = |subject: Subject| match subject {
        Subject::Mpuc => &[Phase::Step][..],
        _ => &[Phase::Forward, Phase::Backward, Phase::Step],
    };
    let mut cases: Vec<Case> = Vec::new();
    for subject in subjects {
        let (name, peer) = subject.names();
        for &phase in phases(subject) {
            let own = batch.unwrap_or(8);
            let mut first = Case {
                names: vec![format!("{name}/{}/b{own}", phase.name())],
                subject,
                phase,
                batch: own,
            };
            let mut second = None;
            if let (None, Some((peer, size))) = (batch, peer) {
                let peer_name = format!("{peer}/b{size}/{}", phase.name());
                if size == own {
                    first.names.push(peer_name);
                } else {
                    second = Some(Case { names: vec![peer_name], batch: size, ..first.clone() });
                }
            }
            cases.push(first);
            cases.extend(second);
        }
    }
    cases
}
