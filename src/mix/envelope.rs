//! How far the programme is turned down at each sample.

/// How the programme makes room for descriptions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DuckOptions {
    /// How far the programme is turned down, in dB. Default: 8.2.
    pub depth: f64,
    /// How long it takes to turn it down before a description, and up again after it, in seconds. Default: 0.3.
    pub ramp: f64,
}

impl Default for DuckOptions {
    fn default() -> DuckOptions {
        DuckOptions { depth: 8.2, ramp: 0.3 }
    }
}

/// The samples of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpeechWindow {
    /// The first.
    pub(crate) start: u64,
    /// The first after it.
    pub(crate) end: u64,
}

/// The gain of the programme over time: linear ramps of the amplitude, down before a description and up again after it. Where
/// two are near each other, the programme stays down or rises only so far.
pub(crate) struct Ducking {
    /// In order of time.
    windows: Vec<SpeechWindow>,
    /// Gain under a description.
    floor: f32,
    /// Samples of a ramp.
    ramp: u64,
    /// Windows that are over, with their ramps.
    passed: usize,
}

impl Ducking {
    /// `windows` must be in order of time and must not overlap. `rate` is in Hz.
    pub(crate) fn new(options: DuckOptions, windows: Vec<SpeechWindow>, rate: u32) -> Ducking {
        let floor = super::gain(-options.depth) as f32;
        let ramp = ((options.ramp * f64::from(rate)).round() as u64).max(1);
        Ducking { windows, floor, ramp, passed: 0 }
    }

    /// Adds a description, after all others.
    pub(crate) fn push(&mut self, window: SpeechWindow) {
        self.windows.drain(..self.passed);
        self.passed = 0;
        self.windows.push(window);
    }

    /// The gain at a sample. Samples must be asked for in order.
    pub(crate) fn gain(&mut self, at: u64) -> f32 {
        while self.windows.get(self.passed).is_some_and(|w| w.end + self.ramp <= at) {
            self.passed += 1;
        }
        let near = self.windows[self.passed..].iter().take_while(|w| w.start < at + self.ramp);
        // How far outside of the nearest window, in ramps.
        let distance = near.map(|w| w.start.saturating_sub(at).max((at + 1).saturating_sub(w.end))).min();
        match distance {
            Some(distance) if distance < self.ramp => {
                self.floor + (1.0 - self.floor) * (distance as f32 / self.ramp as f32)
            }
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gains(windows: &[(u64, u64)], length: u64) -> Vec<f32> {
        let windows = windows.iter().map(|&(start, end)| SpeechWindow { start, end }).collect();
        let mut ducking = Ducking::new(DuckOptions::default(), windows, 100);
        (0..length).map(|at| ducking.gain(at)).collect()
    }

    #[test]
    fn ramps_are_linear_and_lie_outside_of_the_description() {
        let g = gains(&[(100, 200)], 300);
        let floor = 10f32.powf(-8.2 / 20.0);
        assert!(g[..=70].iter().chain(&g[229..]).all(|g| *g == 1.0));
        assert!(g[100..200].iter().all(|g| (g - floor).abs() < 1e-6));
        assert!((g[85] - (1.0 + floor) / 2.0).abs() < 1e-6, "{}", g[85]);
        // No click: no step is larger than that of a ramp.
        assert!(g.windows(2).all(|w| (w[0] - w[1]).abs() < 1.01 * (1.0 - floor) / 30.0));
    }

    #[test]
    fn near_descriptions_share_their_ramps() {
        let g = gains(&[(0, 100), (110, 200), (240, 300)], 400);
        let step = (1.0 - g[0]) / 30.0;
        assert!(g.windows(2).all(|w| (w[0] - w[1]).abs() < 1.01 * step));
        assert!(g[105] < 0.6 && g[220] < 1.0 && g[220] > g[105]);
    }
}
