//! The face frames: a shaded portrait over the same 68 points, with cues that the points lack.

use super::WorldSettings;
use super::actor::{Actor, Looks, blend};
use super::canvas::{Canvas, Colour, Place};
use super::clip_id::ClipId;
use super::landmarks::TrueFrame;
use super::performance::Performance;
use super::random::{Purpose, Stream};
use super::tables::unit;
use super::template::POINTS;

/// Height and width of the crop, face units: the face with some hair and background, as a detector's box has it.
const CROP: f32 = 2.75;
/// Depth of lines and folds at full strength, share of the light taken.
const FURROW: f32 = 0.65;
const FOREHEAD_LINE: f32 = 0.38;
const FOLD: f32 = 0.45;
/// Change of red, green and blue at full flush, on the cheeks and over all the skin.
const CHEEK_FLUSH: Colour = [0.12, -0.32, -0.27];
const SKIN_FLUSH: Colour = [0.04, -0.12, -0.10];
/// Highlight at full gloss.
const GLOSS: f32 = 0.38;
/// Iris shift of a full downward gaze, face units.
const GAZE_SHIFT: f32 = 0.05;
/// Sensor noise (half range, of full scale) at `light` 1.
const SENSOR_NOISE: f32 = 0.025;
/// Exposure in a clip whose frames are weak.
const DIM: f32 = 0.5;

/// Light and framing of one clip: a studio with a plain light backdrop, as RAVDESS's, where takes differ a little.
struct Shot {
    light: [f32; 3],
    ambient: f32,
    gains: Colour,
    background: [Colour; 2],
    offset: Place,
    scale: f32,
}

impl Shot {
    fn new(settings: &WorldSettings, weak: bool, stream: &mut Stream) -> Self {
        let nuisance = settings.light;
        let mut normal = |level: f64| (stream.normal() * level * nuisance) as f32;
        let direction = [normal(0.20), -0.45 + normal(0.1), 0.8];
        let length = direction.iter().map(|value| value * value).sum::<f32>().sqrt();
        let exposure = (1.0 + normal(0.06)).clamp(0.7, 1.3) * if weak { DIM } else { 1.0 };
        let gains = [0; 3].map(|_| exposure * (1.0 + normal(0.015)));
        let ambient = (0.50 + normal(0.04)).clamp(0.3, 0.7);
        let offset = [normal(0.03), normal(0.03)];
        let scale = 1.0 + normal(0.03);
        let tone = (0.78 + normal(0.04)).clamp(0.5, 0.95);
        let background = [[tone; 3], [tone * 0.92; 3]];
        Self {
            light: direction.map(|value| value / length),
            ambient,
            gains,
            background,
            offset,
            scale,
        }
    }
}

/// All frames of a clip: `video_frames` x `face_size` x `face_size` x 3 bytes.
pub(super) fn paint(
    settings: &WorldSettings,
    actor: &Actor,
    performance: &Performance,
    truth: &[TrueFrame],
    clip: ClipId,
) -> Vec<u8> {
    let mut stream =
        Stream::new(settings.seed, Purpose::Portrait, clip.actor as u64, clip.code() + 10_000);
    let shot = Shot::new(settings, performance.weak_light, &mut stream);
    let size = settings.face_size;
    let mut canvas = Canvas::new(size);
    let mut frames = Vec::with_capacity(settings.video_frames() * size * size * 3);
    // A detector's box follows the size of the face.
    let face_width = ((actor.shape[16][0] - actor.shape[0][0]) / 2.0) as f32;
    let noise = SENSOR_NOISE * settings.light as f32 * 2.0;
    for frame in 0..settings.video_frames() {
        let seconds = frame as f64 / settings.video_fps;
        let index = ((seconds * settings.landmark_fps).round() as usize).min(truth.len() - 1);
        let portrait = Portrait::new(actor, performance, &truth[index], &shot);
        let centre = portrait.centre();
        canvas.aim(
            [centre[0] + shot.offset[0], centre[1] + shot.offset[1]],
            size as f32 / CROP / face_width * shot.scale,
        );
        portrait.draw(&mut canvas);
        let values = canvas.pixels().as_flattened();
        for (index, chunk) in values.chunks(8).enumerate() {
            let grain = stream.bytes();
            for (offset, (value, grain)) in chunk.iter().zip(grain).enumerate() {
                let gain = shot.gains[(index * 8 + offset) % 3];
                let seen = value * gain + noise * (f32::from(grain) / 255.0 - 0.5);
                frames.push((seen * 255.0 + 0.5).clamp(0.0, 255.0) as u8);
            }
        }
    }
    frames
}

/// One frame to be drawn.
struct Portrait<'a> {
    looks: &'a Looks,
    shot: &'a Shot,
    points: [Place; POINTS],
    /// Action units of this frame, times the clarity of the clip.
    lines: [f32; super::tables::UNITS],
    flush: f32,
    gloss: f32,
    gaze: f32,
    blink: f32,
    yaw: f32,
    /// Middle between the ears, half the face's width, and up (same length).
    ears: Place,
    across: Place,
    up: Place,
}

fn middle(a: Place, b: Place) -> Place {
    [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
}

fn along(from: Place, to: Place, share: f32) -> Place {
    [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share]
}

impl<'a> Portrait<'a> {
    fn new(actor: &'a Actor, performance: &Performance, truth: &TrueFrame, shot: &'a Shot) -> Self {
        let points = truth.shape.map(|point| point.map(|value| value as f32));
        let across = [(points[16][0] - points[0][0]) / 2.0, (points[16][1] - points[0][1]) / 2.0];
        let skin = performance.skin;
        let apex = truth.apex as f32;
        Self {
            looks: &actor.looks,
            shot,
            points,
            lines: performance.units.map(|strength| (strength * truth.apex * skin.clarity) as f32),
            flush: (skin.flush as f32).clamp(-1.5, 1.5) * (0.5 + 0.5 * apex),
            gloss: (skin.gloss as f32).clamp(-1.0, 1.5),
            gaze: (skin.gaze as f32).clamp(-1.2, 1.2),
            blink: truth.blink as f32,
            yaw: truth.rotation[1] as f32,
            ears: middle(points[0], points[16]),
            across,
            up: [across[1], -across[0]],
        }
    }

    /// Centre of the crop: between ears and chin, closer to the ears, so that it moves little with the jaw.
    fn centre(&self) -> Place {
        [self.ears[0] - self.up[0] * 0.02, self.ears[1] - self.up[1] * 0.02]
    }

    /// A place in the head's own axes: `x` half-widths across, `y` up, from between the ears.
    fn head(&self, x: f32, y: f32) -> Place {
        [
            self.ears[0] + self.across[0] * x + self.up[0] * y,
            self.ears[1] + self.across[1] * x + self.up[1] * y,
        ]
    }

    /// Upper half of an ellipse in the head's axes, from the right ear over the top to the left.
    fn arch(&self, width: f32, height: f32) -> Vec<Place> {
        // Sines of 0 to 180 degrees in steps of 15: no library sine needed per frame.
        const SINES: [f32; 7] =
            [0.0, 0.258_819, 0.5, core::f32::consts::FRAC_1_SQRT_2, 0.866_025, 0.965_926, 1.0];
        let sine = |step: usize| SINES[if step <= 6 { step } else { 12 - step }];
        let cosine = |step: usize| if step <= 6 { SINES[6 - step] } else { -SINES[step - 6] };
        (0..=12).map(|step| self.head(width * cosine(step), height * sine(step))).collect()
    }

    fn draw(&self, canvas: &mut Canvas) {
        self.draw_back(canvas);
        self.draw_skin(canvas);
        self.draw_lines(canvas);
        self.draw_eyes(canvas);
        self.draw_nose(canvas);
        self.draw_mouth(canvas);
        self.draw_hair(canvas);
    }

    fn lit(&self, colour: Colour) -> Colour {
        colour.map(|value| value * (self.shot.ambient + 0.35))
    }

    fn draw_back(&self, canvas: &mut Canvas) {
        let [top, bottom] = self.shot.background;
        canvas.fill_all(|place| blend(top, bottom, ((place[1] + 1.4) / 2.8).clamp(0.0, 1.0)));
        let looks = self.looks;
        let volume = looks.hair_volume;
        let mut hair = self.arch(1.0 + volume, looks.forehead + volume);
        hair.push(self.head(-1.0 - volume * 0.8, -looks.hair_fall.max(0.0)));
        hair.push(self.head(1.0 + volume * 0.8, -looks.hair_fall.max(0.0)));
        let colour = self.lit(looks.hair);
        canvas.fill(&hair, 1.0, |_| colour);
        let neck = [
            self.head(-0.55, -0.7),
            self.head(0.55, -0.7),
            self.head(0.6, -2.2),
            self.head(-0.6, -2.2),
        ];
        let shadow = self.lit(looks.skin.map(|value| value * 0.62));
        canvas.fill(&neck, 1.0, |_| shadow);
        let collar = [
            self.head(-0.5, -1.42),
            self.head(0.5, -1.42),
            self.head(2.0, -1.9),
            self.head(-2.0, -1.9),
        ];
        let clothes = self.lit(looks.clothes);
        canvas.fill(&collar, 1.0, |_| clothes);
    }

    /// The head as an ellipsoid under one lamp.
    fn draw_skin(&self, canvas: &mut Canvas) {
        let mut outline = self.points[..17].to_vec();
        outline.extend(self.arch(1.0, self.looks.forehead));
        let size2 = self.across[0] * self.across[0] + self.across[1] * self.across[1];
        let flushed: Colour =
            core::array::from_fn(|i| self.looks.skin[i] * (1.0 + SKIN_FLUSH[i] * self.flush));
        let [lx, ly, lz] = self.shot.light;
        canvas.fill(&outline, 1.0, |place| {
            let away = [place[0] - self.ears[0], place[1] - self.ears[1]];
            let x = (away[0] * self.across[0] + away[1] * self.across[1]) / size2 / 1.15
                - 0.5 * self.yaw;
            let y = -(away[0] * self.up[0] + away[1] * self.up[1]) / size2 / 1.4;
            let z = (1.0 - x * x - y * y).max(0.04).sqrt();
            let facing = (x * lx + y * ly + z * lz).max(0.0);
            let light = self.shot.ambient + (1.0 - self.shot.ambient) * 1.05 * facing;
            flushed.map(|value| value * light)
        });
    }

    fn draw_lines(&self, canvas: &mut Canvas) {
        let points = &self.points;
        let line = |unit: usize| self.lines[unit].min(1.6);
        let flat = self.across;
        // Blood and sweat.
        let cheeks = [
            along(middle(points[40], points[41]), points[48], 0.42),
            along(middle(points[46], points[47]), points[54], 0.42),
        ];
        let flush = CHEEK_FLUSH.map(|value| value * self.flush);
        for (side, cheek) in cheeks.into_iter().enumerate() {
            canvas.shade(cheek, flat, [0.38, 0.34], flush);
            // A raised cheek is round and catches the light, with a bag below the eye and feet of crows beside it.
            let raised = line(unit::CHEEK_RAISE);
            canvas.shade(cheek, flat, [0.26, 0.20], [raised * 0.22; 3]);
            let (inner, outer) = if side == 0 { (39, 36) } else { (42, 45) };
            let below = |p: Place, down: f32| [p[0] - self.up[0] * down, p[1] - self.up[1] * down];
            canvas.crease(
                below(points[inner], 0.15),
                below(points[outer], 0.15),
                0.09,
                -FOLD * raised,
            );
            let out = if side == 0 { -1.0 } else { 1.0 };
            let corner =
                [points[outer][0] + flat[0] * out * 0.08, points[outer][1] + flat[1] * out * 0.08];
            let end = [corner[0] + flat[0] * out * 0.16, corner[1] + flat[1] * out * 0.16];
            canvas.crease(corner, below(end, -0.06), 0.06, -FOLD * raised);
            canvas.crease(corner, below(end, 0.08), 0.06, -FOLD * raised);
            // The fold from the nose to the corner of the mouth deepens with smile and disgust.
            let (wing, lip) = if side == 0 { (31, 48) } else { (35, 54) };
            let depth = 0.10 + 0.30 * line(unit::LIP_CORNER_PULL) + 0.45 * line(unit::NOSE_WRINKLE);
            let start = [points[wing][0] + flat[0] * out * 0.08, points[wing][1]];
            let stop = [points[lip][0] + flat[0] * out * 0.12, points[lip][1]];
            canvas.crease(start, stop, 0.12, -FOLD * depth);
            // A wrinkled nose: creases beside the bridge.
            let wrinkle = -FURROW * line(unit::NOSE_WRINKLE);
            let bridge = along(points[27], points[30], 0.35);
            let from = [bridge[0] + flat[0] * out * 0.06, bridge[1] + flat[1] * out * 0.06];
            let to = [
                bridge[0] + flat[0] * out * 0.22 - self.up[0] * 0.1,
                bridge[1] + flat[1] * out * 0.22 - self.up[1] * 0.1,
            ];
            canvas.crease(from, to, 0.08, wrinkle);
        }
        let gloss = [GLOSS * self.gloss; 3];
        canvas.shade(self.head(0.0, 0.66), flat, [0.42, 0.16], gloss);
        canvas.shade(points[30], self.up, [0.16, 0.09], [0.12 + gloss[0]; 3]);
        // Between the brows and on the forehead.
        let glabella = middle(points[21], points[22]);
        let furrow = -FURROW * line(unit::BROW_LOWER);
        for out in [-0.07, 0.07] {
            let top = [
                glabella[0] + flat[0] * out + self.up[0] * 0.0,
                glabella[1] + flat[1] * out + self.up[1] * 0.0,
            ];
            let foot = [
                glabella[0] + flat[0] * out - self.up[0] * 0.2,
                glabella[1] + flat[1] * out - self.up[1] * 0.2,
            ];
            canvas.crease(top, foot, 0.07, furrow);
        }
        canvas.shade(glabella, flat, [0.2, 0.16], [furrow * 0.4; 3]);
        let raised =
            -FOREHEAD_LINE * (line(unit::INNER_BROW_RAISE) + line(unit::OUTER_BROW_RAISE)) * 0.6;
        for height in [0.64, 0.78] {
            canvas.crease(self.head(-0.45, height), self.head(0.45, height), 0.07, raised);
        }
        // The chin boss.
        let chin = along(points[57], points[8], 0.45);
        canvas.shade(chin, flat, [0.2, 0.1], [-FOLD * line(unit::CHIN_RAISE); 3]);
        canvas.crease(
            along(points[59], points[7], 0.2),
            along(points[55], points[9], 0.2),
            0.1,
            -0.14,
        );
    }

    fn draw_eyes(&self, canvas: &mut Canvas) {
        let looks = self.looks;
        let white = self.lit([0.92, 0.91, 0.90]);
        let iris = self.lit(looks.iris);
        let dark = self.lit(blend(looks.hair, [0.05, 0.04, 0.04], 0.5));
        for first in [36, 42] {
            let eye = &self.points[first..first + 6];
            let centre = middle(eye[0], eye[3]);
            canvas.shade(centre, self.across, [0.30, 0.20], [-0.14; 3]);
            // Upper lid shadow moves down with the lid; a shut eye shows skin and a line.
            let look =
                [centre[0] + self.across[0] * self.yaw * 0.15, centre[1] + GAZE_SHIFT * self.gaze];
            let open = 1.0 - self.blink;
            canvas.fill(eye, open, |place| {
                let away = [place[0] - look[0], place[1] - look[1]];
                let distance2 = away[0] * away[0] + away[1] * away[1];
                let share = ((0.0115 - distance2) / 0.005 + 0.5).clamp(0.0, 1.0);
                let pupil = ((0.0022 - distance2) / 0.002 + 0.5).clamp(0.0, 1.0);
                blend(blend(white, iris, share), [0.02; 3], pupil)
            });
            // The lid comes down with the gaze.
            let droop = (self.gaze * 0.02).max(-0.02);
            let lid: Vec<Place> = eye[..4].iter().map(|p| [p[0], p[1] + droop]).collect();
            canvas.stroke(&lid, 0.05 + droop.max(0.0), 0.8, dark);
            let brow = if first == 36 { &self.points[17..22] } else { &self.points[22..27] };
            canvas.stroke(brow, looks.brow, 0.85, self.lit(looks.hair));
        }
    }

    fn draw_nose(&self, canvas: &mut Canvas) {
        let points = &self.points;
        let side = if self.shot.light[0] > 0.0 { -1.0 } else { 1.0 };
        let shadow = -0.10 - 0.25 * self.shot.light[0].abs();
        let from = [points[28][0] + self.across[0] * side * 0.1, points[28][1]];
        let to = [points[30][0] + self.across[0] * side * 0.16, points[30][1]];
        canvas.crease(from, to, 0.16, shadow);
        canvas.crease(points[27], points[30], 0.12, 0.12);
        canvas.crease(points[31], points[35], 0.10, -0.22);
        for wing in [32, 34] {
            canvas.shade(points[wing], self.across, [0.07, 0.05], [-0.55; 3]);
        }
    }

    fn draw_mouth(&self, canvas: &mut Canvas) {
        let points = &self.points;
        let lips = self.lit(self.looks.lips);
        let upper = lips.map(|value| value * 0.88);
        let seam = points[60][1].midpoint(points[64][1]);
        canvas.fill(&points[48..60], 0.9, |place| if place[1] < seam { upper } else { lips });
        let inner = &points[60..68];
        canvas.fill(inner, 1.0, |_| [0.10, 0.03, 0.04]);
        // Teeth fill the upper third of an open mouth.
        let teeth: Vec<Place> = (1..4)
            .map(|i| inner[i])
            .chain([7, 6, 5].map(|i| along(inner[8 - i], inner[i], 0.38)).into_iter().rev())
            .collect();
        let gap = (inner[6][1] - inner[2][1]).clamp(0.0, 0.3);
        canvas.fill(&teeth, (gap * 8.0).min(0.9), |_| self.lit([0.90, 0.88, 0.84]));
        canvas.crease(points[48], points[54], 0.05, -0.25);
    }

    /// Hair over the forehead: a crescent between the skull and the hairline.
    fn draw_hair(&self, canvas: &mut Canvas) {
        let looks = self.looks;
        let volume = looks.hair_volume;
        let mut hair = self.arch(1.0 + volume, looks.forehead + volume);
        hair.extend(self.arch(0.94, looks.forehead * 0.78).into_iter().rev());
        let colour = self.lit(looks.hair);
        canvas.fill(&hair, 1.0, |_| colour);
    }
}
