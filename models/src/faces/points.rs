//! 68 points on a face: face-api.js's network (Mühler, github.com/justadudewhohacks/face-api.js), densely connected
//! blocks of convolutions that its author split into one over space and one over channels.
//!
//! Nothing stands between the two, so they are one convolution; it is made of them when the weights are loaded.

use super::picture::Picture;
use engine::nn::{Conv, ConvSettings, Linear};
use engine::{Device, Error, Parameters, Pass, Result, Scope, Tensor};
use kernels::ops::Pool;
use kernels::ops::pool::PoolKind;

/// Points of the network (iBUG's 68, in OpenFace's order).
pub const POINTS: usize = 68;
/// The side of the network's pictures.
pub const SIDE: usize = 112;
/// Channels of the blocks.
const WIDTHS: [usize; 4] = [32, 64, 128, 256];
/// Convolutions of a block; the first halves the picture.
const DEPTH: usize = 4;
/// The mean colour (R, G, B) of the author's training set.
const MEAN: [f32; 3] = [122.782, 117.001, 104.298];
/// Faces that the network sees at once.
const BATCH: usize = 16;

/// The network. Its parameters stand below `dense0.conv0.weight` and so on.
#[derive(Debug, Clone)]
pub struct PointNet {
    blocks: Vec<Vec<Conv>>,
    output: Linear,
    /// What comes before the parameters' names in [`Parameters`].
    prefix: String,
}

/// Numbers of a file: their shape, features last, and the numbers.
pub type Numbers = (Vec<usize>, Vec<f32>);

impl PointNet {
    /// Makes the network at random, its parameters below `name.`.
    ///
    /// # Errors
    /// When the scope has these names already.
    pub fn new(scope: &mut Scope<'_>, name: &str) -> Result<Self> {
        let mut scope = scope.sub(name);
        let mut inputs = 3;
        let mut blocks = Vec::new();
        for (block, outputs) in WIDTHS.into_iter().enumerate() {
            let mut inner = scope.sub(format_args!("dense{block}"));
            let mut convs = Vec::new();
            for conv in 0..DEPTH {
                let inputs = if conv == 0 { inputs } else { outputs };
                let place = inner.sub(format_args!("conv{conv}"));
                convs.push(Conv::new(place, geometry(conv), inputs, outputs, true)?);
            }
            blocks.push(convs);
            inputs = outputs;
        }
        let output = Linear::new(scope.sub("fc"), inputs, 2 * POINTS)?;
        Ok(PointNet { blocks, output, prefix: format!("{name}.") })
    }

    /// Gives the network the numbers of its author's files, which `find` looks up by name: `dense0/conv0/filters`,
    /// `dense0/conv1/depthwise_filter`, `.../pointwise_filter`, `.../bias`, `fc/weights`, `fc/bias`.
    ///
    /// # Errors
    /// When one is not there or has another shape than the network's.
    pub fn load(
        &self,
        parameters: &mut Parameters,
        mut find: impl FnMut(&str) -> Option<Numbers>,
    ) -> Result<()> {
        let mut get = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let refused = |what: String| Error::Parameter { name: name.into(), what };
            let (found, numbers) = find(name)
                .ok_or_else(|| refused("the file has none; is it of this network?".into()))?;
            if found != shape || numbers.len() != shape.iter().product::<usize>() {
                let what =
                    format!("has the shape {found:?}, not {shape:?}; is it of this network?");
                return Err(refused(what));
            }
            Ok(numbers)
        };
        let mut put = |name: String, shape: &[usize], numbers: &[f32]| -> Result<()> {
            let name = format!("{}{name}", self.prefix);
            let missing = || Error::Parameter { name: name.clone(), what: "there is none".into() };
            let id = parameters.find(&name).ok_or_else(missing)?;
            parameters.import(id, &Tensor::from_slice(numbers, shape)?)
        };
        let mut inputs = 3;
        for (block, outputs) in WIDTHS.into_iter().enumerate() {
            for conv in 0..DEPTH {
                let at = format!("dense{block}/conv{conv}");
                let dense = if (block, conv) == (0, 0) {
                    get(&format!("{at}/filters"), &[3, 3, inputs, outputs])?
                } else {
                    let space = get(&format!("{at}/depthwise_filter"), &[3, 3, inputs, 1])?;
                    let channels =
                        get(&format!("{at}/pointwise_filter"), &[1, 1, inputs, outputs])?;
                    joined(&space, &channels, outputs)
                };
                let bias = get(&format!("{at}/bias"), &[outputs])?;
                let [_, taps, _] = geometry(conv).kernel;
                let dense = if taps == 4 { shifted(&dense, inputs * outputs) } else { dense };
                let name = format!("dense{block}.conv{conv}");
                put(format!("{name}.weight"), &[1, taps, taps, inputs, outputs], &dense)?;
                put(format!("{name}.bias"), &[outputs], &bias)?;
                inputs = outputs;
            }
        }
        let shape = [inputs, 2 * POINTS];
        put("fc.weight".into(), &shape, &get("fc/weights", &shape)?)?;
        put("fc.bias".into(), &shape[1..], &get("fc/bias", &shape[1..])?)
    }

    /// x [N, 1, 112, 112, 3] of (RGB - mean) / 255 to [N, 136]: across and down of each point, in shares of the picture.
    ///
    /// # Errors
    /// When x has another shape.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            let Some((first, others)) = block.split_first() else { continue };
            x = first.forward(pass, &x)?.relu()?;
            // What every further convolution sees: the ReLU of the sum of all before it.
            let mut sum = x.clone();
            for conv in others {
                sum = sum.add(&conv.forward(pass, &x)?)?;
                x = sum.relu()?;
            }
        }
        let whole = Pool {
            kind: PoolKind::Average,
            kernel: [1, 7, 7],
            stride: [1, 2, 2],
            padding: [0; 3],
            ceil: false,
        };
        let x = x.pool(whole)?;
        let [n, d, h, w, c] = x.extents("faces::PointNet::forward")?;
        self.output.forward(pass, &x.reshape(&[n, d * h * w * c])?)
    }

    /// The points in crops of faces as [`crop`] makes them: for each crop 68 points, across and down in shares of its
    /// side.
    ///
    /// # Errors
    /// When work on a GPU fails.
    pub fn locate(
        &self,
        parameters: &Parameters,
        crops: &[Vec<f32>],
    ) -> Result<Vec<[[f32; 2]; POINTS]>> {
        let mut located = Vec::with_capacity(crops.len());
        for batch in crops.chunks(BATCH) {
            let pass = Pass::evaluate(parameters);
            let x = Tensor::from_slice(&batch.concat(), &[batch.len(), 1, SIDE, SIDE, 3])?;
            let y = self.forward(&pass, &x)?.on(&Device::Cpu)?;
            for numbers in y.as_slice::<f32>()?.chunks_exact(2 * POINTS) {
                located.push(std::array::from_fn(|n| [numbers[2 * n], numbers[2 * n + 1]]));
            }
        }
        Ok(located)
    }
}

/// What the network sees of the square of this side around a centre, in pixels of the picture.
pub fn crop(picture: &Picture<'_>, centre: [f32; 2], side: f32) -> Vec<f32> {
    let pixels = picture.square(centre, side, SIDE);
    let seen = |pixel: [f32; 3]| [0, 1, 2].map(|channel| (pixel[channel] - MEAN[channel]) / 255.0);
    pixels.into_iter().flat_map(seen).collect()
}

/// A block's convolutions: 3 x 3 taps. The first takes every second pixel and is padded behind alone, which is a
/// kernel of 4 x 4 padded on both sides whose first taps are zero.
fn geometry(conv: usize) -> ConvSettings {
    match conv {
        0 => ConvSettings::new([1, 4, 4]).stride([1, 2, 2]).padding([0, 1, 1]),
        _ => ConvSettings::new([1, 3, 3]).padding([0, 1, 1]),
    }
}

/// The one convolution [taps, inputs, outputs] that a convolution over space [taps, inputs] and then one over channels
/// [inputs, outputs] are.
fn joined(space: &[f32], channels: &[f32], outputs: usize) -> Vec<f32> {
    let inputs = channels.len() / outputs;
    let tap = |(number, &weight): (usize, &f32)| {
        let row = &channels[number % inputs * outputs..][..outputs];
        row.iter().map(move |&channel| weight * channel)
    };
    space.iter().enumerate().flat_map(tap).collect()
}

/// 3 x 3 taps as 4 x 4 of which the first row and column are zero.
fn shifted(taps: &[f32], size: usize) -> Vec<f32> {
    let mut wide = vec![0.0; 16 * size];
    for (number, tap) in taps.chunks_exact(size).enumerate() {
        let place = (number / 3 + 1) * 4 + number % 3 + 1;
        wide[place * size..][..size].copy_from_slice(tap);
    }
    wide
}
