//! 68 landmarks of a face: the network of face-api.js (Mühler, github.com/justadudewhohacks/face-api.js) with densely
//! connected blocks of depthwise separable convolutions.
//!
//! There is no activation between the depthwise and the pointwise convolution, so they are combined into one when the
//! weights are loaded.

use super::picture::Picture;
use engine::nn::{Conv, ConvSettings, Linear};
use engine::{Device, Error, Parameters, Pass, Result, Scope, Tensor};
use kernels::ops::Pool;
use kernels::ops::pool::PoolKind;

/// Landmarks of the network (iBUG's 68, in OpenFace's order).
pub const POINTS: usize = 68;
/// The side of the network's input images, in pixels.
pub const SIDE: usize = 112;
/// Channels of the blocks.
const WIDTHS: [usize; 4] = [32, 64, 128, 256];
/// Convolutions of a block; the first one has stride 2.
const DEPTH: usize = 4;
/// The mean colour (R, G, B) of the author's training set.
const MEAN: [f32; 3] = [122.782, 117.001, 104.298];
/// Ends the messages about a wrong file of weights.
const HINT: &str = "give the file of face-api's face_landmark_68 model";
/// Faces in a batch.
const BATCH: usize = 16;

/// The landmark network. Its parameters are named `dense0.conv0.weight`, ..., `fc.bias`, after its prefix.
#[derive(Debug, Clone)]
pub struct PointNet {
    blocks: Vec<Vec<Conv>>,
    output: Linear,
    /// The prefix of the parameters' names in [`Parameters`].
    prefix: String,
}

/// A tensor of a file: its shape, features last, and its elements.
pub type Numbers = (Vec<usize>, Vec<f32>);

impl PointNet {
    /// Makes the network with random parameters, named `name.*`.
    ///
    /// # Errors
    /// When the scope already has these names.
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

    /// Loads the weights of face-api.js. `find` returns a tensor by its name in the files: `dense0/conv0/filters`,
    /// `dense0/conv1/depthwise_filter`, `.../pointwise_filter`, `.../bias`, `fc/weights`, `fc/bias`.
    ///
    /// # Errors
    /// When a tensor is missing or has the wrong shape.
    pub fn load(
        &self,
        parameters: &mut Parameters,
        mut find: impl FnMut(&str) -> Option<Numbers>,
    ) -> Result<()> {
        let mut get = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let refused = |what: String| Error::Parameter { name: name.into(), what };
            let (found, numbers) = find(name)
                .ok_or_else(|| refused(format!("the file has no such tensor; {HINT}")))?;
            if found != shape || numbers.len() != shape.iter().product::<usize>() {
                let what = format!("got shape {found:?}, expected {shape:?}; {HINT}");
                return Err(refused(what));
            }
            Ok(numbers)
        };
        let mut put = |name: String, shape: &[usize], numbers: &[f32]| -> Result<()> {
            let name = format!("{}{name}", self.prefix);
            let missing = || Error::Parameter {
                name: name.clone(),
                what: "there is no such parameter".into(),
            };
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

    /// x `[N, 1, 112, 112, 3]` of (RGB - mean) / 255 to `[N, 136]`: x, y of each point as fractions of the image.
    ///
    /// # Errors
    /// When x has another shape.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            let Some((first, others)) = block.split_first() else { continue };
            x = first.forward(pass, &x)?.relu()?;
            // The input of every further convolution: the ReLU of the sum of all earlier outputs.
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

    /// The 68 points of each crop that [`crop`] made: x, y as fractions of the crop's side.
    ///
    /// # Errors
    /// When the device fails.
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

/// The network's input for the square with this side and centre, in pixels of the image.
pub fn crop(picture: &Picture<'_>, centre: [f32; 2], side: f32) -> Vec<f32> {
    let pixels = picture.square(centre, side, SIDE);
    let seen = |pixel: [f32; 3]| [0, 1, 2].map(|channel| (pixel[channel] - MEAN[channel]) / 255.0);
    pixels.into_iter().flat_map(seen).collect()
}

/// The geometry of a block's convolutions: 3 x 3 taps. The first one has stride 2 and padding after the image only,
/// which equals a 4 x 4 kernel with padding on both sides whose first row and column are zero.
fn geometry(conv: usize) -> ConvSettings {
    match conv {
        0 => ConvSettings::new([4, 4]).stride([2, 2]).padding([1, 1]),
        _ => ConvSettings::new([3, 3]).padding([1, 1]),
    }
}

/// Combines a depthwise convolution `[taps, inputs]` and a pointwise one `[inputs, outputs]` to one convolution
/// `[taps, inputs, outputs]`.
fn joined(space: &[f32], channels: &[f32], outputs: usize) -> Vec<f32> {
    let inputs = channels.len() / outputs;
    let tap = |(number, &weight): (usize, &f32)| {
        let row = &channels[number % inputs * outputs..][..outputs];
        row.iter().map(move |&channel| weight * channel)
    };
    space.iter().enumerate().flat_map(tap).collect()
}

/// Pads 3 x 3 taps to 4 x 4 with a first row and column of zeros.
fn shifted(taps: &[f32], size: usize) -> Vec<f32> {
    let mut wide = vec![0.0; 16 * size];
    for (number, tap) in taps.chunks_exact(size).enumerate() {
        let place = (number / 3 + 1) * 4 + number % 3 + 1;
        wide[place * size..][..size].copy_from_slice(tap);
    }
    wide
}
