//! The picture that goes to a panel.

/// One picture in memory, 24 bits a pixel, rows from the top, no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    width: u32,
    height: u32,
    rgb: Vec<[u8; 3]>,
}

impl Frame {
    /// A black picture of `width` × `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, rgb: vec![[0; 3]; width as usize * height as usize] }
    }

    /// Pixels from left to right.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels as red, green, blue, row by row.
    pub fn pixels(&self) -> &[[u8; 3]] {
        &self.rgb
    }

    /// The pixel at column `x` and row `y`; `None` outside the picture.
    pub fn get(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        (x < self.width && y < self.height).then(|| self.rgb[(y * self.width + x) as usize])
    }

    /// Colours the pixel at column `x` and row `y`; outside the picture nothing happens.
    pub fn set(&mut self, x: u32, y: u32, rgb: [u8; 3]) {
        if x < self.width && y < self.height {
            self.rgb[(y * self.width + x) as usize] = rgb;
        }
    }
}
