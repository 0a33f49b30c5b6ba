//! The verdict's screen of a reading as a DICOM picture: Secondary Capture Image (PS3.3 A.8.1), uncompressed RGB, for
//! archives and viewers that show no structured reports.
//!
//! It is drawn anew from what the journal keeps of the reading, in the site's language, with the film where that is still
//! at hand and the map that was shown with it.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::InMemDicomObject;

use super::derived::{
    DerivedError, MANUFACTURER, Shown, code_item, date_and_time, film_of, fit, header, model_of, reference, sequence,
    text,
};
use crate::domain::Frame;
use crate::record::{INTENDED_USE, Recorded, Uuid, What, conclusion, reading_of};
use crate::ui::{Case, Film, Look, Page, Screen, Source, VerdictScreen, When, Who};

/// Secondary Capture Image Storage (PS3.4 B.5).
pub const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";

/// Of the picture.
const SIZE: (u16, u16) = (800, 480);

/// Header and pixels.
pub(super) fn capture(row: &Recorded, shown: Shown<'_>) -> Result<InMemDicomObject, DerivedError> {
    let frame = draw(row, shown)?;
    let (date, time) = date_and_time(row.at_unix_ms);
    let mut object = header(row, What::Capture, "OT", "Lightbox: verdict on the radiograph");
    // Who is on the film stands in the picture where the row knows it; the film's own pixels may hold a name, too.
    let named = who(row) != Who::Unknown;
    let burned_in = if named || shown.film.is_some() { "YES" } else { "NO" };
    let model = fit(&model_of(row), 64);
    for element in [
        // Secondary capture equipment and image (C.8.6.1, C.8.6.2).
        text(Tag(0x0008, 0x0064), VR::CS, "WSD"),
        text(Tag(0x0018, 0x1010), VR::LO, &fit(&Uuid::of_device(row).to_string(), 64)),
        text(Tag(0x0018, 0x1016), VR::LO, MANUFACTURER),
        text(Tag(0x0018, 0x1018), VR::LO, &model),
        text(Tag(0x0018, 0x1019), VR::LO, &fit(&row.software, 64)),
        text(Tag(0x0018, 0x1012), VR::DA, &date),
        text(Tag(0x0018, 0x1014), VR::TM, &time),
        // General image (C.7.6.1).
        DataElement::new(
            Tag(0x0008, 0x0008),
            VR::CS,
            PrimitiveValue::Strs(["DERIVED", "SECONDARY"].map(str::to_owned).into_iter().collect()),
        ),
        text(Tag(0x0008, 0x0023), VR::DA, &date),
        text(Tag(0x0008, 0x0033), VR::TM, &time),
        text(Tag(0x0008, 0x2111), VR::ST, &derivation(shown)),
        text(Tag(0x0020, 0x0020), VR::CS, ""),
        // A chest has no side (C.7.3.1).
        text(Tag(0x0020, 0x0060), VR::CS, ""),
        text(Tag(0x0020, 0x4000), VR::LT, &fit(&conclusion(row), 10_240)),
        text(Tag(0x0028, 0x0301), VR::CS, burned_in),
        // Image pixel (C.7.6.3).
        number(Tag(0x0028, 0x0002), 3),
        text(Tag(0x0028, 0x0004), VR::CS, "RGB"),
        number(Tag(0x0028, 0x0006), 0),
        number(Tag(0x0028, 0x0010), SIZE.1),
        number(Tag(0x0028, 0x0011), SIZE.0),
        number(Tag(0x0028, 0x0100), 8),
        number(Tag(0x0028, 0x0101), 8),
        number(Tag(0x0028, 0x0102), 7),
        number(Tag(0x0028, 0x0103), 0),
        DataElement::new(Tag(0x7FE0, 0x0010), VR::OB, PrimitiveValue::from(frame.pixels().as_flattened())),
    ] {
        object.put(element);
    }
    if let Some(film) = film_of(row) {
        let mut item = reference(&film);
        let purpose = code_item("DCM", "121322", "Source image for image processing operation");
        item.put(sequence(Tag(0x0040, 0xA170), vec![purpose]));
        object.put(sequence(Tag(0x0008, 0x2112), vec![item]));
    }
    Ok(object)
}

fn number(tag: Tag, value: u16) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// How the picture came about.
fn derivation(shown: Shown<'_>) -> String {
    let film = match (shown.film, shown.map) {
        (Some(_), Some(_)) => "with the film and where the network looked",
        (Some(_), None) => "with the film",
        (None, _) => "without the film",
    };
    let minutes = shown.utc_offset_s / 60;
    let (sign, minutes) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
    let zone = format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60);
    format!("Screen of a reading by software, {film}, drawn from its record; the time in it is {zone}. {INTENDED_USE}")
}

fn who(row: &Recorded) -> Who<'_> {
    let Some(identity) = &row.identity else { return Who::Unknown };
    let [patient, accession] = [&identity.patient_id, &identity.accession_number].map(|text| text.trim());
    match (patient, accession) {
        ("", "") => Who::Unknown,
        ("", accession) => Who::Study(accession),
        (patient, _) => Who::Patient(patient),
    }
}

fn draw(row: &Recorded, shown: Shown<'_>) -> Result<Frame, DerivedError> {
    let unknown = || DerivedError::Unknown {
        sequence: row.sequence,
        found: format!("{} ({})", row.verdict, row.reason.as_deref().unwrap_or("no reason")),
    };
    let (reading, operating_point) = reading_of(row).ok_or_else(unknown)?;
    let screen = VerdictScreen {
        film: shown.film.map(|film| Film {
            image: &film.image,
            pixel_aspect: film.pixel_aspect,
            saliency: shown.map.map(|(map, window)| (map, *window)),
        }),
        reading: &reading,
        operating_point: &operating_point,
        model_name: &row.model_name,
        model_version: &row.model_version,
        page: Page::Whole,
        case: Some(Case {
            sequence: u64::try_from(row.sequence).unwrap_or(0),
            who: who(row),
            when: When {
                unix_s: row.at_unix_ms.div_euclid(1000),
                utc_offset_s: shown.utc_offset_s,
                verified: row.clock_verified,
            },
            source: source_of(&row.origin),
            position: None,
        }),
    };
    let mut frame = Frame::new(SIZE.0.into(), SIZE.1.into());
    let look = Look { language: shown.language, ..Look::default() };
    Screen::Verdict(screen).draw(&mut frame, look);
    Ok(frame)
}

fn source_of(origin: &str) -> Source {
    match origin {
        "network" => Source::Network,
        "drive" => Source::Drive,
        "camera" => Source::Camera,
        "folder" => Source::Folder,
        _ => Source::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_the_time_in_the_picture_is_told() {
        for (utc_offset_s, zone) in [(0, "UTC+00:00"), (20_700, "UTC+05:45"), (-12_600, "UTC-03:30")] {
            let told = derivation(Shown { utc_offset_s, ..Shown::default() });
            assert!(
                told.contains(&format!("without the film, drawn from its record; the time in it is {zone}. ")),
                "{told}"
            );
        }
    }
}
