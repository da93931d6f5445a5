//! Alternative landmark backbone: the spatio-temporal graph network of Yan et al. (AAAI 2018).

use super::{FaceGraph, Partition, refuse};
use engine::nn::{BatchNorm, Conv, ConvSettings, Dropout, Linear, StepMask};
use engine::{Init, ParameterId, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`SpatialTemporalGraphNet`]; the defaults are the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpatialTemporalGraphNetSettings {
    /// Channels of each unit. A unit with more channels than the one before has stride 2 in time.
    pub channels: Vec<usize>,
    /// The partition of the edges.
    pub partition: Partition,
    /// Taps of the temporal convolutions.
    pub kernel: usize,
    /// Dropout after each unit's temporal convolution.
    pub dropout: f64,
    /// Whether each unit learns a factor for each edge.
    pub edge_importance: bool,
    /// Features of the output.
    pub features: usize,
    /// Whether the steps after the end of a sample are left out, so that padding changes no feature; otherwise they are data.
    /// In training, batch norm also measures them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Default for SpatialTemporalGraphNetSettings {
    fn default() -> Self {
        SpatialTemporalGraphNetSettings {
            channels: [[64; 4].as_slice(), &[128; 3], &[256; 3]].concat(),
            partition: Partition::Spatial,
            kernel: 9,
            dropout: 0.0,
            edge_importance: true,
            features: 512,
            masked: false,
        }
    }
}

/// Units of graph convolution, temporal convolution and residual sum, then a mean over time and points.
#[derive(Debug, Clone)]
pub struct SpatialTemporalGraphNet {
    norm: BatchNorm,
    units: Vec<Unit>,
    output: Linear,
    graph: FaceGraph,
    features: usize,
    masked: bool,
}

#[derive(Debug, Clone)]
struct Unit {
    weight: ParameterId,
    bias: ParameterId,
    importance: Option<ParameterId>,
    norm1: BatchNorm,
    time: Conv,
    taps: usize,
    stride: usize,
    norm2: BatchNorm,
    residual: Residual,
    dropout: Dropout,
}

#[derive(Debug, Clone)]
enum Residual {
    None,
    Identity,
    Conv(Box<(Conv, BatchNorm)>),
}

impl Unit {
    fn new(
        mut scope: Scope<'_>,
        settings: &SpatialTemporalGraphNetSettings,
        graph: &FaceGraph,
        inputs: usize,
        number: usize,
    ) -> Result<Self> {
        let outputs = settings.channels[number];
        let stride = if number > 0 && outputs != inputs { 2 } else { 1 };
        let partitions = graph.partitions;
        let init = Init::fan_in(inputs);
        let mut gcn = scope.sub("gcn.conv");
        let weight = gcn.parameter("weight", &[partitions, inputs, outputs], init)?;
        let bias = gcn.parameter("bias", &[partitions, outputs], init)?;
        let importance = settings
            .edge_importance
            .then(|| {
                let shape = [partitions * graph.points * graph.points, 1];
                scope.parameter("edge_importance", &shape, Init::Constant(1.0))
            })
            .transpose()?;
        let geometry = ConvSettings::new([settings.kernel, 1])
            .stride([stride, 1])
            .padding([settings.kernel / 2, 0]);
        let residual = if number == 0 {
            Residual::None
        } else if inputs == outputs && stride == 1 {
            Residual::Identity
        } else {
            let shortcut = ConvSettings::new([1; 3]).stride([stride, 1]);
            let conv = Conv::new(scope.sub("residual.0"), shortcut, inputs, outputs, true)?;
            Residual::Conv(Box::new((conv, BatchNorm::new(scope.sub("residual.1"), outputs)?)))
        };
        Ok(Unit {
            weight,
            bias,
            importance,
            norm1: BatchNorm::new(scope.sub("tcn.0"), outputs)?,
            time: Conv::new(scope.sub("tcn.2"), geometry, outputs, outputs, true)?,
            taps: settings.kernel,
            stride,
            norm2: BatchNorm::new(scope.sub("tcn.3"), outputs)?,
            residual,
            dropout: Dropout { probability: settings.dropout },
        })
    }

    /// x `[N, 1, T, V, C]` to `[N, 1, T', V, C']`. The mask of x becomes that of the output.
    fn forward(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        graph: &FaceGraph,
        mask: &mut Option<StepMask>,
    ) -> Result<Tensor> {
        let constant = graph.values(pass)?;
        let values = match self.importance {
            None => constant,
            Some(importance) => {
                let learned = pass.get(importance).embedding(&graph.positions(pass)?)?;
                learned.reshape(&constant.shape())?.multiply(&constant)?
            }
        };
        let (weight, bias) = (pass.get(self.weight), pass.get(self.bias));
        let y = x.graph_conv(&values, &graph.structure(pass)?, &weight, Some(&bias), false)?;
        let mut y = self.norm1.forward_relu(pass, &y)?;
        if let Some(mask) = mask {
            y = mask.zero_padding(&y)?;
            *mask = mask.after(pass, self.taps, self.stride)?;
        }
        let y = self.time.forward(pass, &y)?;
        let shortcut = match &self.residual {
            Residual::None => None,
            Residual::Identity => Some(x.clone()),
            Residual::Conv(layers) => Some(layers.1.forward(pass, &layers.0.forward(pass, x)?)?),
        };
        // Dropout is between norm and residual sum; without it, norm, sum and ReLU are fused.
        if pass.training() && self.dropout.probability > 0.0 {
            let y = self.dropout.forward(pass, &self.norm2.forward(pass, &y)?)?;
            return shortcut.map_or(Ok(y.clone()), |shortcut| y.add(&shortcut))?.relu();
        }
        match shortcut {
            None => self.norm2.forward_relu(pass, &y),
            Some(shortcut) => self.norm2.forward_residual_relu(pass, &y, &shortcut),
        }
    }
}

impl SpatialTemporalGraphNet {
    /// A network for samples `[T, V, coordinates]` with V = 51 or 68 points; inputs may have any T.
    ///
    /// # Errors
    /// When V is not 51 or 68.
    pub fn new(
        settings: &SpatialTemporalGraphNetSettings,
        mut scope: Scope<'_>,
        input: &[usize],
    ) -> Result<Self> {
        let expected = "[frames, 51 or 68 points, coordinates]";
        let &[_, points, coordinates] = input else {
            return Err(refuse("st-gcn", input, expected));
        };
        if !FaceGraph::exists(points) || settings.channels.is_empty() {
            return Err(refuse("st-gcn", input, expected));
        }
        let graph = FaceGraph::partitioned(points, settings.partition);
        let norm = BatchNorm::new(scope.sub("data_bn"), points * coordinates)?;
        let mut units = Vec::new();
        let mut inputs = coordinates;
        for (number, &channels) in settings.channels.iter().enumerate() {
            let name = format!("st_gcn_networks.{number}");
            units.push(Unit::new(scope.sub(name), settings, &graph, inputs, number)?);
            inputs = channels;
        }
        let output = Linear::new(scope.sub("fcn"), inputs, settings.features)?;
        let SpatialTemporalGraphNetSettings { features, masked, .. } = *settings;
        Ok(SpatialTemporalGraphNet { norm, units, output, graph, features, masked })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Landmarks `[N, T, V, coordinates]` to `[N, features]`. If the network is masked, steps after the first `lengths` `[N]`
    /// change nothing; lengths on a GPU are copied to the CPU.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(
        &self,
        pass: &Pass<'_>,
        landmarks: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [n, t, v, c] = landmarks.extents("st-gcn")?;
        let flat = self.norm.forward(pass, &landmarks.reshape(&[n * t, v * c])?)?;
        let mut x = flat.reshape(&[n, 1, t, v, c])?;
        let mut mask = StepMask::new(pass, lengths.filter(|_| self.masked), t)?;
        for unit in &self.units {
            x = unit.forward(pass, &x, &self.graph, &mut mask)?;
        }
        let [n, _, t, v, c] = x.extents("st-gcn")?;
        let lengths = mask.map(|mask| mask.lengths(pass, v)).transpose()?;
        let mean = x.reshape(&[n, t * v, c])?.mean_over_steps(lengths.as_ref())?;
        self.output.forward(pass, &mean)
    }
}
