//! A film, before and after it has been found fit for reading.

/// Grey picture as it is meant to be seen: 0 is black, 65535 white, dense bone and hardware bright.
///
/// The modality and VOI transformations and the polarity (PS3.3 C.7.6.3.1.2) are already applied.
#[derive(Clone, PartialEq, Eq)]
pub struct GreyImage {
    width: u32,
    height: u32,
    greys: Vec<u16>,
}

/// A picture whose numbers do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{width} × {height} pixels need {} values, found {found}", u64::from(*width) * u64::from(*height))]
pub struct GreyImageError {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Values given.
    pub found: usize,
}

impl GreyImage {
    /// `greys` row by row from the top.
    ///
    /// # Errors
    /// When there are not `width` × `height` values, or none at all.
    pub fn new(width: u32, height: u32, greys: Vec<u16>) -> Result<Self, GreyImageError> {
        if greys.is_empty() || u64::from(width) * u64::from(height) != greys.len() as u64 {
            return Err(GreyImageError { width, height, found: greys.len() });
        }
        Ok(Self { width, height, greys })
    }

    /// Columns, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All values, row by row.
    pub fn greys(&self) -> &[u16] {
        &self.greys
    }

    /// One row; `y` is below [`height`](Self::height).
    pub fn row(&self, y: u32) -> &[u16] {
        let width = self.width as usize;
        &self.greys[y as usize * width..(y as usize + 1) * width]
    }
}

impl std::fmt::Debug for GreyImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GreyImage({} × {})", self.width, self.height)
    }
}

/// How the picture was made, DICOM's Modality (0008,0060).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modality {
    /// CR, DX, or the older RG and PX spellings of plain radiography.
    Radiography(String),
    /// SC and OT: a scan or screen capture, which may be a film.
    SecondaryCapture(String),
    /// Anything else: CT, MR, US, MG …
    Other(String),
}

/// From where the film was taken, DICOM's View Position (0018,5101).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewPosition {
    /// Front to back.
    Ap,
    /// Back to front.
    Pa,
    /// From a side: LL, RL, LATERAL and the like.
    Lateral(String),
    /// Something else, as written.
    Other(String),
}

/// Who is on a film, as DICOM says it; a field is empty where the object has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Patient ID (0010,0020).
    pub patient_id: String,
    /// Accession Number (0008,0050).
    pub accession_number: String,
    /// Study Instance UID (0020,000D).
    pub study_uid: String,
    /// Series Instance UID (0020,000E).
    pub series_uid: String,
    /// SOP Instance UID (0008,0018).
    pub sop_uid: String,
    /// SOP Class UID (0008,0016).
    pub sop_class_uid: String,
}

/// A picture as it came from outside, decoded, not yet found fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Acquired {
    /// The picture.
    pub image: GreyImage,
    /// Height of a pixel ÷ its width.
    pub pixel_aspect: f32,
    /// Mean distance of the colours from grey, 0 to 1; 0 for a grey picture.
    pub colourfulness: f32,
    /// How it was made, where the file says so.
    pub modality: Option<Modality>,
    /// Body Part Examined (0018,0015), where the file says so.
    pub body_part: Option<String>,
    /// From where it was taken, where the file says so.
    pub view: Option<ViewPosition>,
    /// Who is on it, where the file says so: to be kept or shown only where the site wants that.
    pub identity: Option<Identity>,
    /// Pictures in the file; the first is the one taken.
    pub frames: u32,
    /// What a reader should know of the decoding, for example that only the first frame was taken.
    pub remarks: Vec<String>,
}

impl Acquired {
    /// A picture of which nothing else is known.
    pub fn from_image(image: GreyImage) -> Self {
        Self {
            image,
            pixel_aspect: 1.0,
            colourfulness: 0.0,
            modality: None,
            body_part: None,
            view: None,
            identity: None,
            frames: 1,
            remarks: Vec::new(),
        }
    }
}

/// A picture that was found fit for reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Radiograph(Acquired);

impl Radiograph {
    /// Only `pipeline::quality` may say so; the architecture test holds that.
    pub(crate) fn found_fit(acquired: Acquired) -> Self {
        Self(acquired)
    }

    /// The grey picture.
    pub fn image(&self) -> &GreyImage {
        &self.0.image
    }

    /// Height of a pixel ÷ its width.
    pub fn pixel_aspect(&self) -> f32 {
        self.0.pixel_aspect
    }

    /// The picture with all that came with it.
    pub fn into_acquired(self) -> Acquired {
        self.0
    }
}
