//! Landmark backbone: the spatio-temporal graph network of Yu et al. (IJCAI 2018), which the paper cites, with the
//! gate and sizes of the code of the paper's authors.

use super::{FaceGraph, refuse};
use engine::nn::{BatchNorm, Conv, ConvSettings, Dropout, Linear};
use engine::{Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::Gate;
use serde::{Deserialize, Serialize};

/// Settings of [`Stgcn`]; the defaults are those of the paper's authors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StgcnSettings {
    /// Channels of the temporal convolutions.
    pub channels: usize,
    /// Channels of the graph convolutions.
    pub spatial: usize,
    /// The gate of a temporal convolution.
    pub gate: GateKind,
    /// The factor of the identity that is added to the adjacency: 2 in the authors' code, 1 in the literature.
    pub self_loops: f64,
    /// Dropout after the last temporal convolution.
    pub dropout: f64,
    /// Features of the output, and of each point before it.
    pub features: usize,
}

/// The gate of a temporal convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// relu(p + sigmoid(q) + r), as in the authors' code.
    Add,
    /// p sigmoid(q), as in Yu et al.
    Glu,
}

impl Default for StgcnSettings {
    fn default() -> Self {
        StgcnSettings {
            channels: 64,
            spatial: 16,
            gate: GateKind::Add,
            self_loops: 2.0,
            dropout: 0.1,
            features: 512,
        }
    }
}

/// Two blocks of temporal, graph and temporal convolution, a last temporal convolution, a linear map of each point,
/// and one over all points.
///
/// It treats padding as data and has no setting `masked`: it has no mean over time from which steps could be left out. Each
/// of the T - 10 steps has weights of its own in the linear map, and a sample of 10 frames or less would have no step.
#[derive(Debug, Clone)]
pub struct Stgcn {
    blocks: [Block; 2],
    last: GatedConv,
    per_point: Linear,
    output: Linear,
    dropout: Dropout,
    graph: FaceGraph,
    features: usize,
}

/// A gated temporal convolution of three taps, without padding.
#[derive(Debug, Clone)]
struct GatedConv {
    conv: Conv,
    gate: Gate,
}

impl GatedConv {
    /// Makes `weight` `[1, 3, 1, inputs, parts x outputs]`: the convolutions of the gate's parts, concatenated.
    fn new(scope: Scope<'_>, gate: Gate, inputs: usize, outputs: usize) -> Result<Self> {
        let conv =
            Conv::new(scope, ConvSettings::new([3, 1]), inputs, gate.parts() * outputs, true)?;
        Ok(GatedConv { conv, gate })
    }

    /// x `[N, T, V, C]` to `[N, T - 2, V, C']`.
    fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let [n, t, v, c] = x.extents("stgcn")?;
        let y = self.conv.forward(pass, &x.reshape(&[n, 1, t, v, c])?)?.gate(self.gate)?;
        y.reshape(&[n, y.shape()[2], v, y.shape().features()])
    }
}

#[derive(Debug, Clone)]
struct Block {
    time1: GatedConv,
    theta: ParameterId,
    time2: GatedConv,
    norm: BatchNorm,
}

impl Block {
    fn new(
        mut scope: Scope<'_>,
        settings: &StgcnSettings,
        gate: Gate,
        inputs: usize,
        points: usize,
    ) -> Result<Self> {
        let StgcnSettings { channels, spatial, .. } = *settings;
        Ok(Block {
            time1: GatedConv::new(scope.sub("temporal1"), gate, inputs, channels)?,
            theta: scope.parameter("Theta1", &[1, channels, spatial], Init::fan_in(spatial))?,
            time2: GatedConv::new(scope.sub("temporal2"), gate, spatial, channels)?,
            // The points are the channels of the norm.
            norm: BatchNorm::new(scope.sub("batch_norm"), points)?.axis(2),
        })
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor, graph: &FaceGraph) -> Result<Tensor> {
        let x = self.time1.forward(pass, x)?;
        let values = graph.values(pass)?;
        let x =
            x.graph_conv(&values, &graph.structure(pass)?, &pass.get(self.theta), None, true)?;
        self.norm.forward(pass, &self.time2.forward(pass, &x)?)
    }
}

impl Stgcn {
    /// A network for samples `[T, V, 2]` or `[T, V, 3]` with V = 51 or 68 points. Every input must have this T.
    ///
    /// # Errors
    /// When V is not 51 or 68, or T is 10 or less: each of the five temporal convolutions removes two frames.
    pub fn new(settings: &StgcnSettings, mut scope: Scope<'_>, input: &[usize]) -> Result<Self> {
        let expected = "[more than 10 frames, 51 or 68 points, coordinates]";
        let &[frames, points, coordinates] = input else {
            return Err(refuse("stgcn", input, expected));
        };
        if frames <= 10 || !FaceGraph::exists(points) {
            return Err(refuse("stgcn", input, expected));
        }
        let gate = match settings.gate {
            GateKind::Add => Gate::Additive,
            GateKind::Glu => Gate::Glu,
        };
        let StgcnSettings { channels, features, .. } = *settings;
        Ok(Stgcn {
            blocks: [
                Block::new(scope.sub("block1"), settings, gate, coordinates, points)?,
                Block::new(scope.sub("block2"), settings, gate, channels, points)?,
            ],
            last: GatedConv::new(scope.sub("last_temporal"), gate, channels, channels)?,
            per_point: Linear::new(scope.sub("fully"), (frames - 10) * channels, features)?,
            output: Linear::new(scope.sub("fc_out"), points * features, features)?,
            dropout: Dropout { probability: settings.dropout },
            graph: FaceGraph::symmetric(points, settings.self_loops),
            features,
        })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Landmarks `[N, T, V, 2]` or `[N, T, V, 3]` to `[N, features]`.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, landmarks: &Tensor) -> Result<Tensor> {
        let mut x = landmarks.clone();
        for block in &self.blocks {
            x = block.forward(pass, &x, &self.graph)?;
        }
        let x = self.dropout.forward(pass, &self.last.forward(pass, &x)?)?;
        let [n, t, v, c] = x.extents("stgcn")?;
        let by_point = x.permute(&[0, 2, 1, 3])?.reshape(&[n, v, t * c])?;
        let points = self.per_point.forward(pass, &by_point)?;
        self.output.forward(pass, &points.reshape(&[n, v * self.features])?)
    }
}
