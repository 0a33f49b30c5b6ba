//! Golden films and what the network has to answer to them.
//!
//! Films are binary PGM of 16 bits (Netpbm's `P5`, big-endian): nothing has to be decoded, and ordinary tools show
//! them. The network itself is run elsewhere; here its answers are compared.

use serde::{Deserialize, Serialize};

use crate::domain::{GreyImage, ModelOutput, Reading};

/// The form of `golden/expected.json`.
const SCHEMA: u32 = 1;

/// `golden/expected.json` as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFile {
    /// 1.
    pub schema: u32,
    /// Where the films come from and under which licence.
    pub source: String,
    /// How far an answer may lie from the expected one.
    pub tolerance: ToleranceEntry,
    /// One a film, in their order.
    pub films: Vec<AnswerEntry>,
}

/// How far an answer may lie from the expected one: processors round differently.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToleranceEntry {
    /// Of each logit, absolute.
    pub logits: f32,
    /// Of lengths and sums, as a share.
    pub share: f32,
}

/// What the network answers to one film.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerEntry {
    /// In the order Covid-19, pneumonia, normal.
    pub logits: [f32; 3],
    /// How many pooled features there are.
    pub features: usize,
    /// Their Euclidean length.
    pub feature_length: f64,
    /// Sums of the saliency maps, in the order of the logits.
    pub map_sums: [f64; 3],
    /// Name of the verdict.
    pub verdict: String,
    /// Code of the reason, where there is one.
    pub reason: Option<String>,
}

/// Golden films that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoldenError {
    /// Not JSON of this form.
    #[error("golden/expected.json: {0}")]
    Json(String),
    /// A value that cannot be.
    #[error("golden/expected.json: {key} is {found}, expected {expected}")]
    Value {
        /// The key, with its parents.
        key: &'static str,
        /// As given.
        found: String,
        /// What can be.
        expected: String,
    },
    /// Not a film in the one form.
    #[error("golden/{number:02}.pgm is not a 16-bit PGM: {reason}")]
    Film {
        /// Which film.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A film whose answer is known.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenFilm {
    /// The film.
    pub image: GreyImage,
    /// The answer.
    pub expected: AnswerEntry,
}

/// Films whose answers are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The films, at least one.
    pub films: Vec<GoldenFilm>,
    /// How far an answer may lie from the expected one.
    pub tolerance: ToleranceEntry,
}

/// How far a network is from what it should be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("golden film {film:02}: {what} is {found}, expected {expected}")]
pub struct GoldenMismatch {
    /// Which film.
    pub film: usize,
    /// What differs.
    pub what: String,
    /// As the network answers here.
    pub found: String,
    /// As it has to.
    pub expected: String,
}

/// Tolerances that hold between processors that round differently.
pub const TOLERANCE: ToleranceEntry = ToleranceEntry { logits: 2e-3, share: 1e-3 };

impl AnswerEntry {
    /// The answer that was given.
    pub fn of(output: &ModelOutput, reading: &Reading) -> Self {
        let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
        Self {
            logits: output.logits,
            features: output.features.len(),
            feature_length: output.features.iter().map(|f| f64::from(*f).powi(2)).sum::<f64>().sqrt(),
            map_sums: [0, 1, 2].map(|i: usize| sum(&output.maps[i].values)),
            verdict: reading.verdict.name().to_owned(),
            reason: reading.verdict.reason().map(|reason| reason.code().to_owned()),
        }
    }

    /// Compares `found` with this.
    ///
    /// # Errors
    /// With the first value that lies outside the tolerance; numbers that are none always do.
    pub fn compare(&self, film: usize, found: &Self, tolerance: ToleranceEntry) -> Result<(), GoldenMismatch> {
        let differs =
            |what: String, found: String, expected: String| Err(GoldenMismatch { film, what, found, expected });
        for (index, name) in ["covid19", "pneumonia", "normal"].into_iter().enumerate() {
            let (f, e) = (found.logits[index], self.logits[index]);
            // A NaN lies outside.
            let near = (f - e).abs() <= tolerance.logits;
            if !near {
                return differs(format!("the logit of {name}"), f.to_string(), format!("{e} ± {}", tolerance.logits));
            }
            let (f, e) = (found.map_sums[index], self.map_sums[index]);
            let within = f64::from(tolerance.share) * e.abs() + 1e-3;
            let near = (f - e).abs() <= within;
            if !near {
                return differs(format!("the sum of the map of {name}"), f.to_string(), format!("{e} ± {within:.4}"));
            }
        }
        if found.features != self.features {
            return differs("the number of features".into(), found.features.to_string(), self.features.to_string());
        }
        let (f, e) = (found.feature_length, self.feature_length);
        let within = f64::from(tolerance.share) * e.abs() + 1e-6;
        let near = (f - e).abs() <= within;
        if !near {
            return differs("the length of the features".into(), f.to_string(), format!("{e} ± {within:.4}"));
        }
        let verdict = |answer: &Self| match &answer.reason {
            Some(reason) => format!("{} ({reason})", answer.verdict),
            None => answer.verdict.clone(),
        };
        if verdict(found) != verdict(self) {
            return differs("the verdict".into(), verdict(found), verdict(self));
        }
        Ok(())
    }
}

impl Golden {
    /// From `golden/expected.json` and the films in their order.
    ///
    /// # Errors
    /// When one of them is not in its form or their numbers do not agree.
    pub(super) fn parse(expected: &[u8], films: &[&[u8]]) -> Result<Self, GoldenError> {
        let file: ExpectedFile =
            serde_json::from_slice(expected).map_err(|error| GoldenError::Json(error.to_string()))?;
        let refused =
            |key, found: String, expected: &str| Err(GoldenError::Value { key, found, expected: expected.to_owned() });
        if file.schema != SCHEMA {
            return refused("schema", file.schema.to_string(), "1");
        }
        let ToleranceEntry { logits, share } = file.tolerance;
        if !(logits > 0.0 && logits <= 0.1) {
            return refused("tolerance.logits", logits.to_string(), "a number above 0, at most 0.1");
        }
        if !(share > 0.0 && share <= 0.05) {
            return refused("tolerance.share", share.to_string(), "a number above 0, at most 0.05");
        }
        if file.films.len() != films.len() {
            let found = format!("a list of {}", file.films.len());
            return refused("films", found, &format!("one entry for each of {} films", films.len()));
        }
        let film = |(number, (bytes, expected)): (usize, (&&[u8], AnswerEntry))| {
            let image = read_pgm(bytes).map_err(|reason| GoldenError::Film { number, reason })?;
            Ok(GoldenFilm { image, expected })
        };
        let films = films.iter().zip(file.films).enumerate().map(film).collect::<Result<Vec<_>, GoldenError>>()?;
        Ok(Self { films, tolerance: file.tolerance })
    }

    /// The bytes of `golden/expected.json` for these films.
    ///
    /// # Errors
    /// When a number has no form in JSON.
    pub(super) fn expected_file(&self, source: &str) -> Result<Vec<u8>, GoldenError> {
        let finite = |answer: &AnswerEntry| {
            let sums = answer.map_sums.iter().all(|s| s.is_finite()) && answer.feature_length.is_finite();
            sums && answer.logits.iter().all(|l| l.is_finite())
        };
        // JSON would turn such a number into null.
        if let Some(film) = self.films.iter().position(|film| !finite(&film.expected)) {
            let expected = "finite numbers".to_owned();
            return Err(GoldenError::Value { key: "films", found: format!("no number for film {film}"), expected });
        }
        let file = ExpectedFile {
            schema: SCHEMA,
            source: source.to_owned(),
            tolerance: self.tolerance,
            films: self.films.iter().map(|film| film.expected.clone()).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| GoldenError::Json(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Longest side of a golden film in pixels.
const MAX_SIDE: u32 = 1024;

/// A grey picture as 16-bit PGM.
pub fn write_pgm(image: &GreyImage) -> Vec<u8> {
    let mut bytes = format!("P5\n{} {}\n65535\n", image.width(), image.height()).into_bytes();
    bytes.extend(image.greys().iter().flat_map(|grey| grey.to_be_bytes()));
    bytes
}

/// The picture in `bytes`, if they are what [`write_pgm`] makes.
///
/// # Errors
/// What is wrong, in words.
pub fn read_pgm(bytes: &[u8]) -> Result<GreyImage, String> {
    let header = bytes.get(..bytes.len().min(32)).unwrap_or(&[]);
    let text: String = header.iter().map(|b| char::from(*b)).collect();
    let mut lines = text.splitn(4, '\n');
    let (Some("P5"), Some(sides), Some("65535"), Some(_)) = (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Err("expected the lines P5, WIDTH HEIGHT and 65535".to_owned());
    };
    let side =
        |text: &str| text.parse::<u32>().ok().filter(|side| (1..=MAX_SIDE).contains(side) && side.to_string() == text);
    let Some((width, height)) = sides.split_once(' ').and_then(|(w, h)| Some((side(w)?, side(h)?))) else {
        return Err(format!("the size is {sides:?}, expected two sides from 1 to {MAX_SIDE}"));
    };
    let values = &bytes["P5\n65535\n".len() + sides.len() + 1..];
    let needed = 2 * width as usize * height as usize;
    if values.len() != needed {
        return Err(format!("{} bytes of greys, expected {needed}", values.len()));
    }
    let greys = values.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    GreyImage::new(width, height, greys).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> GreyImage {
        GreyImage::new(3, 2, vec![0, 1, 255, 256, 65_534, 65_535]).expect("sizes fit")
    }

    fn answer() -> AnswerEntry {
        AnswerEntry {
            logits: [1.0, -2.0, 0.5],
            features: 4,
            feature_length: 10.0,
            map_sums: [100.0, 0.0, 50.0],
            verdict: "indeterminate".to_owned(),
            reason: Some("between-thresholds".to_owned()),
        }
    }

    #[test]
    fn a_film_is_read_as_it_was_written() {
        let bytes = write_pgm(&image());
        assert_eq!(&bytes[..15], b"P5\n3 2\n65535\n\0\0");
        assert_eq!(read_pgm(&bytes), Ok(image()));
    }

    #[test]
    fn what_is_no_such_film_is_refused() {
        let check = |bytes: &[u8], message: &str| assert_eq!(read_pgm(bytes).expect_err("a refusal"), message);
        check(b"", "expected the lines P5, WIDTH HEIGHT and 65535");
        check(b"P5\n# comment\n3 2\n65535\n", "expected the lines P5, WIDTH HEIGHT and 65535");
        check(b"P5\n3 2\n255\n", "expected the lines P5, WIDTH HEIGHT and 65535");
        check(b"P5\n3 9999\n65535\n", "the size is \"3 9999\", expected two sides from 1 to 1024");
        check(b"P5\n3 2\n65535\n12", "2 bytes of greys, expected 12");
        let mut long = write_pgm(&image());
        long.push(0);
        check(&long, "13 bytes of greys, expected 12");
        for length in 0..long.len() - 1 {
            assert!(read_pgm(&long[..length]).is_err(), "{length} bytes");
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut AnswerEntry), message: &str) {
        let mut found = answer();
        change(&mut found);
        let mismatch = answer().compare(1, &found, TOLERANCE).expect_err("a mismatch");
        assert_eq!(mismatch.to_string(), message);
    }

    #[test]
    fn an_answer_within_the_tolerance_passes_and_any_other_says_what_differs() {
        let mut near = answer();
        near.logits[0] += 1.9e-3;
        near.map_sums[0] += 0.09;
        near.feature_length -= 9e-3;
        assert_eq!(answer().compare(0, &near, TOLERANCE), Ok(()));
        check(|a| a.logits[1] = -2.003, "golden film 01: the logit of pneumonia is -2.003, expected -2 ± 0.002");
        check(|a| a.logits[0] = f32::NAN, "golden film 01: the logit of covid19 is NaN, expected 1 ± 0.002");
        check(
            |a| a.map_sums[2] = f64::NAN,
            "golden film 01: the sum of the map of normal is NaN, expected 50 ± 0.0510",
        );
        check(|a| a.features = 5, "golden film 01: the number of features is 5, expected 4");
        check(|a| a.feature_length = 9.0, "golden film 01: the length of the features is 9, expected 10 ± 0.0100");
        check(
            |a| (a.verdict, a.reason) = ("normal".to_owned(), None),
            "golden film 01: the verdict is normal, expected indeterminate (between-thresholds)",
        );
    }

    #[test]
    fn what_was_written_is_what_is_expected_later() {
        let golden = Golden { films: vec![GoldenFilm { image: image(), expected: answer() }], tolerance: TOLERANCE };
        let (expected, film) = (golden.expected_file("made by code").expect("writable"), write_pgm(&image()));
        assert_eq!(Golden::parse(&expected, &[&film]), Ok(golden.clone()));
        let message = "golden/expected.json: films is a list of 1, expected one entry for each of 2 films";
        assert_eq!(Golden::parse(&expected, &[&film, &film]).expect_err("a refusal").to_string(), message);
        let message = "golden/00.pgm is not a 16-bit PGM: 10 bytes of greys, expected 12";
        let short = &film[..film.len() - 2];
        assert_eq!(Golden::parse(&expected, &[short]).expect_err("a refusal").to_string(), message);
        let wide = String::from_utf8(expected).expect("text").replace("0.002", "0.5");
        let message = "golden/expected.json: tolerance.logits is 0.5, expected a number above 0, at most 0.1";
        assert_eq!(Golden::parse(wide.as_bytes(), &[&film]).expect_err("a refusal").to_string(), message);
        let mut broken = golden;
        broken.films[0].expected.logits[0] = f32::INFINITY;
        assert!(broken.expected_file("").is_err());
    }
}
