use crate::{Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::{Conv3d, ConvTranspose3d, DepthwiseConv as DepthwiseOp};

/// Kernel, stride, padding and dilation of a convolution over depth, height and width.
///
/// One or two numbers are for the last axes: `ConvSettings::new([5])` is a kernel over the steps of a sequence,
/// `ConvSettings::new([3, 3])` one over height and width of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSettings {
    /// Taps of the kernel along each axis.
    pub kernel: [usize; 3],
    /// Input steps between neighbouring outputs.
    pub stride: [usize; 3],
    /// Zeros on both sides of each axis.
    pub padding: [usize; 3],
    /// Input steps between neighbouring taps.
    pub dilation: [usize; 3],
}

impl ConvSettings {
    /// Stride 1, no padding, no dilation.
    pub fn new<const AXES: usize>(kernel: [usize; AXES]) -> Self {
        ConvSettings {
            kernel: last_axes(kernel, 1),
            stride: [1; 3],
            padding: [0; 3],
            dilation: [1; 3],
        }
    }

    /// Sets the stride.
    pub fn stride<const AXES: usize>(self, stride: [usize; AXES]) -> Self {
        ConvSettings { stride: last_axes(stride, 1), ..self }
    }

    /// Sets the padding.
    pub fn padding<const AXES: usize>(self, padding: [usize; AXES]) -> Self {
        ConvSettings { padding: last_axes(padding, 0), ..self }
    }

    /// Sets the dilation.
    pub fn dilation<const AXES: usize>(self, dilation: [usize; AXES]) -> Self {
        ConvSettings { dilation: last_axes(dilation, 1), ..self }
    }

    /// The number of taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
}

/// One to three numbers for the last of three axes, and `others` for the rest.
fn last_axes<const AXES: usize>(given: [usize; AXES], others: usize) -> [usize; 3] {
    const { assert!(AXES >= 1 && AXES <= 3, "a convolution has 1 to 3 axes") };
    let mut all = [others; 3];
    all[3 - AXES..].copy_from_slice(&given);
    all
}

/// A count of channels as it is stored: the next multiple of 16, so that rows are whole vectors. The channels
/// beyond the count are zero and stay zero.
pub fn padded_channels(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// A convolution of clips `[N, D, H, W, C]`, images `[N, H, W, C]` or sequences `[N, T, C]`.
#[derive(Debug, Clone)]
pub struct Conv {
    op: Conv3d,
    weight: ParameterId,
    bias: Option<ParameterId>,
}

impl Conv {
    /// Makes `weight` `[KD, KH, KW, inputs, outputs]` and, if `bias`, `bias` `[outputs]`, with PyTorch's initial
    /// values.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        mut scope: Scope<'_>,
        settings: ConvSettings,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Self> {
        let init = Init::fan_in(settings.taps() * inputs);
        let bias = bias.then(|| scope.parameter("bias", &[outputs], init)).transpose()?;
        let shape = shape(settings, inputs, outputs);
        let weight = scope.parameter("weight", &shape, init)?;
        Ok(Conv { op: operation(settings, bias.is_some()), weight, bias })
    }

    /// A convolution without bias that stores more channels than its logical ones (see [`padded_channels`]). Makes
    /// `weight`.
    ///
    /// # Errors
    /// When the scope already has this name.
    pub fn padded(
        mut scope: Scope<'_>,
        settings: ConvSettings,
        logical: [usize; 2],
        stored: [usize; 2],
        init: Init,
    ) -> Result<Self> {
        let logical = shape(settings, logical[0], logical[1]);
        let stored = shape(settings, stored[0], stored[1]);
        let weight = scope.padded("weight", &logical, &stored, init)?;
        Ok(Conv { op: operation(settings, false), weight, bias: None })
    }

    /// x `[N, D, H, W, inputs]` to `[N, D', H', W', outputs]`. An image `[N, H, W, inputs]` is a clip of one frame, a
    /// sequence `[N, T, inputs]` an image of one row; the output has as many axes as x.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.map(|bias| pass.get(bias));
        convolved(self.op, x, &pass.get(self.weight), bias.as_ref())
    }

    /// [`forward`](Self::forward), but the backward pass may recompute the output instead of keeping it. Use it for
    /// large outputs that are cheap to compute.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward_recomputable(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let y = self.forward(pass, x)?;
        if y.place().is_none() {
            return Ok(y);
        }
        let (op, x, weight) = (self.op, x.kept(), pass.get(self.weight).detached());
        let bias = self.bias.map(|bias| pass.get(bias).detached());
        Ok(y.recompute_with(move || convolved(op, &x.get()?, &weight, bias.as_ref())))
    }
}

/// The convolution of a clip, an image or a sequence.
fn convolved(op: Conv3d, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match x.shape()[..] {
        [n, t, c] => {
            let y = x.reshape(&[n, 1, 1, t, c])?.conv3d(op, weight, bias)?;
            y.reshape(&[n, y.shape()[3], y.shape()[4]])
        }
        [n, h, w, c] => {
            let y = x.reshape(&[n, 1, h, w, c])?.conv3d(op, weight, bias)?;
            y.reshape(&[n, y.shape()[2], y.shape()[3], y.shape()[4]])
        }
        _ => x.conv3d(op, weight, bias),
    }
}

fn shape(settings: ConvSettings, inputs: usize, outputs: usize) -> [usize; 5] {
    let [d, h, w] = settings.kernel;
    [d, h, w, inputs, outputs]
}

fn operation(settings: ConvSettings, bias: bool) -> Conv3d {
    let ConvSettings { stride, padding, dilation, .. } = settings;
    Conv3d { stride, padding, dilation, bias, relu: false }
}

/// A transposed convolution of clips, images or sequences, as in decoders: the output is about `stride` times as large
/// as the input along each axis.
#[derive(Debug, Clone)]
pub struct ConvTranspose {
    op: ConvTranspose3d,
    weight: ParameterId,
    bias: Option<ParameterId>,
}

impl ConvTranspose {
    /// Makes `weight` `[KD, KH, KW, inputs, outputs]` and, if `bias`, `bias` `[outputs]`, with PyTorch's initial
    /// values. `output_padding` must be below the stride on each axis ([`ConvTranspose3d`]).
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        mut scope: Scope<'_>,
        settings: ConvSettings,
        output_padding: [usize; 3],
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Self> {
        // PyTorch counts the outputs of this layer as its fan-in.
        let init = Init::fan_in(settings.taps() * outputs);
        let bias = bias.then(|| scope.parameter("bias", &[outputs], init)).transpose()?;
        let weight = scope.parameter("weight", &shape(settings, inputs, outputs), init)?;
        let ConvSettings { stride, padding, dilation, .. } = settings;
        let bias_given = bias.is_some();
        let op = ConvTranspose3d { stride, padding, output_padding, dilation, bias: bias_given };
        Ok(ConvTranspose { op, weight, bias })
    }

    /// x `[N, D, H, W, inputs]` to `[N, D', H', W', outputs]`.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.map(|bias| pass.get(bias));
        x.conv_transpose3d(self.op, &pass.get(self.weight), bias.as_ref())
    }
}

/// A depthwise convolution over time: each feature has its own filter.
#[derive(Debug, Clone)]
pub struct DepthwiseConv {
    op: DepthwiseOp,
    weight: ParameterId,
    bias: ParameterId,
}

impl DepthwiseConv {
    /// Makes `weight` `[kernel, features]` and `bias` `[features]`; the padding keeps the length for an odd kernel.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        mut scope: Scope<'_>,
        kernel: usize,
        dilation: usize,
        features: usize,
    ) -> Result<Self> {
        let init = Init::fan_in(kernel);
        let weight = scope.parameter("weight", &[kernel, features], init)?;
        let bias = scope.parameter("bias", &[features], init)?;
        let padding = dilation * (kernel - 1) / 2;
        Ok(DepthwiseConv {
            op: DepthwiseOp { stride: 1, padding, dilation, bias: true },
            weight,
            bias,
        })
    }

    /// x `[N, T, C]` to the same shape.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        x.depthwise_conv(self.op, &pass.get(self.weight), Some(&pass.get(self.bias)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Parameters, Philox};

    /// A convolution that halves an image, and the transposed one that doubles it again.
    #[test]
    fn a_transposed_convolution_leads_back_to_the_size() -> Result<()> {
        let mut parameters = Parameters::new(DType::F32, 1);
        let settings = ConvSettings::new([1, 3, 3]).stride([1, 2, 2]).padding([0, 1, 1]);
        let half = Conv::new(parameters.scope().sub("half"), settings, 3, 5, true)?;
        let double =
            ConvTranspose::new(parameters.scope().sub("double"), settings, [0, 1, 1], 5, 3, true)?;
        let pass = Pass::train(&parameters, Philox::new(1, "pass"));
        let x = Tensor::zeros(&[2, 1, 8, 6, 3], DType::F32);
        let small = half.forward(&pass, &x)?;
        assert_eq!(small.shape()[..], [2, 1, 4, 3, 5]);
        let back = double.forward(&pass, &small)?;
        assert_eq!(back.shape(), x.shape());
        // Fails where a parameter has no gradient.
        pass.backward(&back.mse(&x)?)?;
        Ok(())
    }
}
