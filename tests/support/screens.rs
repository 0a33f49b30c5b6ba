//! One of every screen, with all that it borrows.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use lightbox::domain::{
    Doubt, Finding, GreyImage, Language, OperatingPoint, Probabilities, Reading, Reason, Rejection, SaliencyMap,
    Verdict, Window,
};
use lightbox::ui::*;

use super::support::chest_phantom;

/// As strong as two blobs, on the 7 × 7 cells of a network's last layer.
pub fn map() -> SaliencyMap {
    let blob = |x: f32, y: f32, cx: f32, cy: f32| (-((x - cx).powi(2) + (y - cy).powi(2)) / 1.6).exp();
    let cell = |index: usize| ((index % 7) as f32, (index / 7) as f32);
    let values = (0..49).map(cell).map(|(x, y)| 4.0 * blob(x, y, 1.5, 4.4) + 2.6 * blob(x, y, 5.0, 3.6)).collect();
    SaliencyMap { width: 7, height: 7, values }
}

/// What a network saw that letterboxes a square film to 4 : 3.
pub const SEEN: Window = Window { left: -1.0 / 6.0, top: 0.0, right: 7.0 / 6.0, bottom: 1.0 };

pub fn probabilities(covid19: f32, pneumonia: f32, normal: f32) -> Option<Probabilities> {
    Probabilities::from_logits([covid19, pneumonia, normal].map(f32::ln), 1.0)
}

pub fn operating_point() -> OperatingPoint {
    OperatingPoint::new(0.12, 0.45, 0.40, 0.60).expect("lines in order")
}

/// 25 November 2026, 13:20 in a place two hours ahead.
pub const NOW: When = When { unix_s: 1_795_605_600, utc_offset_s: 7200, verified: true };
/// The same where nobody has set the clock.
pub const UNSURE: When = When { verified: false, ..NOW };

/// A film of which the screens are made: without a detector's noise, which pictures of it would have to keep.
pub fn film() -> GreyImage {
    const STEP: u16 = 1024;
    let noisy = chest_phantom(512, 512, 7);
    let mean = |x: usize, y: usize| {
        let sum = |row: &[u16]| u32::from(row[2 * x]) + u32::from(row[2 * x + 1]);
        (sum(noisy.row(2 * y as u32)) + sum(noisy.row(2 * y as u32 + 1))) / 4
    };
    let greys = (0..256 * 256).map(|index| (mean(index % 256, index / 256) as u16 / STEP) * STEP).collect();
    GreyImage::new(256, 256, greys).expect("one value for each pixel")
}

/// What a camera sees of a film on a light box in a dark room, from near or from far away, and the film's corners.
pub fn sight(film: &GreyImage, near: bool) -> (GreyImage, [[f32; 2]; 4]) {
    let (width, height) = (256u32, 192u32);
    let film_px = if near { 160 } else { 80 };
    let [left, top] = [(width - film_px) / 2, (height - film_px) / 2];
    let rim = film_px / 12;
    let grey = |x: u32, y: u32| {
        let inside = |low: u32, at: u32, by: u32| at + by >= low && at < low + film_px + by;
        if inside(left, x, 0) && inside(top, y, 0) {
            let place = |at: u32, low: u32, side: u32| (at - low) * side / film_px;
            film.row(place(y, top, film.height()))[place(x, left, film.width()) as usize] / 2
        } else if inside(left, x, rim) && inside(top, y, rim) {
            61_440
        } else {
            2_048
        }
    };
    let greys = (0..width * height).map(|index| grey(index % width, index / width)).collect();
    let share = |x: u32, y: u32| [x as f32 / width as f32, y as f32 / height as f32];
    let (right, bottom) = (left + film_px, top + film_px);
    let corners = [share(left, top), share(right, top), share(right, bottom), share(left, bottom)];
    (GreyImage::new(width, height, greys).expect("one value for each pixel"), corners)
}

/// Calls `look` with the name, the screen and the keys of one of every kind.
pub fn each_screen(film: &GreyImage, mut look: impl FnMut(&str, Screen<'_>, Keys)) {
    let map = map();
    let point = operating_point();
    let keys = |next, select| Keys { next: Some(next), select: Some(select) };
    let none = Keys::default();
    let only = |select| Keys { next: None, select: Some(select) };
    let shown = Film { image: film, pixel_aspect: 1.0, saliency: Some((&map, SEEN)) };

    let starting = StartingView { step: StartStep::SelfTest, done: 3, of: 5, software: "0.1.0" };
    look("starting", Screen::Starting(starting), none);

    let model = ModelHealth::Ready { name: "chest-mobilenet", version: "1.2.0" };
    let well = [
        Health::Storage(StorageHealth::Free { bytes: 23_400_000_000 }),
        Health::Journal(JournalHealth::Sound),
        Health::Model(model),
        Health::Listener(PartHealth::Works),
        Health::Folders(PartHealth::Works),
        Health::Temperature { celsius: 54, level: Level::Good },
        Health::Clock { verified: true },
    ];
    let ways = [
        Way::Network { ae_title: "LIGHTBOX", address: "192.168.1.30:11112" },
        Way::Drive,
        Way::Folder { name: "films" },
        Way::Camera,
    ];
    let ready = ReadyView { health: &well, ways: &ways[..2], read: 12_345, waiting: 0, now: Some(NOW) };
    look("ready", Screen::Ready(ready), keys(Hint::Review, Hint::Settings));
    let trial = ModelHealth::OnTrial { name: "chest-mobilenet", version: "1.3.0" };
    let unwell = [
        Health::Storage(StorageHealth::NearlyFull { bytes: 412_000_000 }),
        Health::Model(trial),
        Health::Listener(PartHealth::Restarting),
        Health::Archive { waiting: 12, health: PartHealth::Broken },
        Health::Temperature { celsius: 81, level: Level::Attention },
        Health::Power { low: true },
        Health::Clock { verified: false },
    ];
    let ready = ReadyView { health: &unwell, ways: &ways, read: 7, waiting: 3, now: Some(UNSURE) };
    look("ready-unwell", Screen::Ready(ready), keys(Hint::Review, Hint::Settings));

    let aim = |sight, outline, aim| Screen::Aim(AimView { sight, outline, aim });
    let (near, near_corners) = sight(film, true);
    let (far, far_corners) = sight(film, false);
    let shoot = keys(Hint::Back, Hint::Shoot);
    look("aim-good", aim(Some(&near), Some(near_corners), Aim::Good), shoot);
    look("aim-nearer", aim(Some(&far), Some(far_corners), Aim::Fix(Reason::FilmTooFar)), shoot);
    look("aim-missing", aim(Some(&near), None, Aim::Fix(Reason::FilmNotFound)), shoot);
    for reason in Reason::ALL.into_iter().filter(|reason| reason.code().starts_with("film-")) {
        let name = format!("aim-{}", reason.code());
        look(&name, aim(Some(&near), Some(near_corners), Aim::Fix(reason)), shoot);
    }
    look("aim-blind", aim(None, None, Aim::Blind), shoot);
    look(
        "aim-taking",
        aim(Some(&near), Some(near_corners), Aim::Taking),
        Keys { next: Some(Hint::Back), select: None },
    );
    let entries = [MenuEntry::Update, MenuEntry::Review, MenuEntry::Language];
    look("menu", Screen::Menu(MenuView { entries: &entries, chosen: 1 }), keys(Hint::NextLine, Hint::Open));
    let ready = ReadyView { health: &well, ways: &ways[2..], read: 12_345, waiting: 0, now: Some(NOW) };
    look("ready-camera", Screen::Ready(ready), keys(Hint::More, Hint::Photograph));

    let from = ReceivingView {
        source: Source::Network,
        from: "XRAY1",
        films: 2,
        bytes: 9_200_000,
        of_bytes: Some(18_000_000),
    };
    look("receiving", Screen::Receiving(from), none);
    let reading =
        ReadingView { film: Some(shown), step: ReadingStep::Infer, who: Who::Patient("P-104233"), waiting: 2 };
    look("reading", Screen::Reading(reading), none);

    let found = |finding, p, covid_positive| Reading {
        verdict: Verdict::Found(finding),
        probabilities: p,
        covid_positive: Some(covid_positive),
    };
    let covid = found(Finding::Covid19, probabilities(0.87, 0.10, 0.03), true);
    let pneumonia = found(Finding::Pneumonia, probabilities(0.04, 0.81, 0.15), false);
    let normal = found(Finding::Normal, probabilities(0.012, 0.048, 0.94), false);
    let unclear = Reading {
        verdict: Verdict::Indeterminate(Doubt::BetweenThresholds),
        probabilities: probabilities(0.29, 0.33, 0.38),
        covid_positive: None,
    };
    let refused = |reason, detail: &str| Reading::rejected(Rejection::new(reason, detail));
    let clipped = refused(Reason::Clipped, "61 % of the pixels are white or black, expected at most 40 %");
    let corrupt =
        refused(Reason::Corrupt, "the pixel data end after 41320 of 2097152 bytes (offset 0x1A54 in chest-0042.dcm)");
    let case = |who, when, position| Some(Case { sequence: 1289, who, when, source: Source::Network, position });
    let named = case(Who::Patient("P-104233"), NOW, None);
    let hidden = case(Who::Hidden, UNSURE, Some((3, 17)));
    let verdict = |reading, film, page, case| {
        Screen::Verdict(VerdictScreen {
            film,
            reading,
            operating_point: &point,
            model_name: "chest-mobilenet",
            model_version: "1.2.0",
            page,
            case,
        })
    };
    let turn = keys(Hint::Map, Hint::Done);
    look("verdict-covid19", verdict(&covid, Some(shown), Page::Verdict, named), turn);
    look("verdict-pneumonia", verdict(&pneumonia, Some(shown), Page::Verdict, named), turn);
    look("verdict-normal", verdict(&normal, Some(shown), Page::Verdict, hidden), turn);
    look("verdict-indeterminate", verdict(&unclear, Some(shown), Page::Verdict, hidden), turn);
    look("verdict-rejected", verdict(&clipped, Some(shown), Page::Verdict, named), turn);
    let glare = refused(Reason::FilmGlare, "a spot of 1.2 % of the film is burnt out, expected at most 0.25 %");
    let photographed = Film { image: &near, pixel_aspect: 1.0, saliency: None };
    let again = keys(Hint::Details, Hint::TakeAgain);
    look("verdict-photograph", verdict(&glare, Some(photographed), Page::Verdict, hidden), again);
    let without = case(Who::Unknown, UNSURE, None);
    look("verdict-unreadable", verdict(&corrupt, None, Page::Verdict, without), keys(Hint::Details, Hint::Done));
    look("map", verdict(&covid, Some(shown), Page::Map, named), keys(Hint::Details, Hint::Done));
    look("details", verdict(&unclear, Some(shown), Page::Details, hidden), keys(Hint::Verdict, Hint::Done));
    look("details-rejected", verdict(&corrupt, None, Page::Details, without), keys(Hint::Verdict, Hint::Done));

    let verdicts = [&covid, &pneumonia, &normal, &unclear, &clipped].map(|reading| reading.verdict.clone());
    let rows: Vec<_> = (0..17)
        .map(|index| ReviewRow {
            sequence: 1289 - index as u64,
            who: if index % 3 == 2 { Who::Hidden } else { Who::Patient("P-104233") },
            when: When { unix_s: NOW.unix_s - 5400 * index as i64, verified: index % 4 != 3, ..NOW },
            verdict: &verdicts[index % 5],
        })
        .collect();
    look("review", Screen::Review(ReviewView { rows: &rows, chosen: 2 }), keys(Hint::NextLine, Hint::Open));
    look("review-empty", Screen::Review(ReviewView { rows: &[], chosen: 0 }), only(Hint::Back));

    let figures = [
        Figure { name: "sensitivity, hospitals never seen", value: 0.812, low: 0.741, high: 0.867, films: 1420 },
        Figure { name: "specificity, hospitals never seen", value: 0.904, low: 0.872, high: 0.929, films: 1420 },
        Figure { name: "lungs blacked out, AUC", value: 0.548, low: 0.501, high: 0.594, films: 600 },
    ];
    let differences = [
        Difference { key: "version", before: Some("1.2.0"), after: Some("1.3.0") },
        Difference { key: "rule_in", before: Some("0.45"), after: Some("0.52") },
        Difference { key: "rule_out", before: Some("0.12"), after: Some("0.1") },
        Difference { key: "finds the lungs", before: None, after: Some("yes") },
    ];
    let signers = ["Lightbox release", "St Mary's radiology"];
    let update =
        |stage| Screen::Update(UpdateView { name: "chest-mobilenet", version: "1.3.0", running: Some("1.2.0"), stage });
    let offer =
        |page| UpdateStage::Offered(Offer { signers: &signers, figures: &figures, differences: &differences, page });
    look("update-offered", update(offer(OfferPage::Summary)), keys(Hint::NextPage, Hint::Install));
    look("update-figures", update(offer(OfferPage::Figures)), keys(Hint::NextPage, Hint::Install));
    look("update-differences", update(offer(OfferPage::Differences)), keys(Hint::Decline, Hint::Install));
    look("update-installing", update(UpdateStage::Installing { done: 3_100_000, of: 9_400_000 }), none);
    look("update-self-test", update(UpdateStage::SelfTest { done: 4, of: 12 }), none);
    look("update-replay", update(UpdateStage::Replay { done: 31, of: 50 }), none);
    let changed = [
        Changed { sequence: 1280, before: &verdicts[0], after: &verdicts[2] },
        Changed { sequence: 1271, before: &verdicts[3], after: &verdicts[0] },
        Changed { sequence: 1260, before: &verdicts[2], after: &verdicts[1] },
    ];
    let stage = UpdateStage::Trial { cases: 50, changed: &changed };
    look("update-trial", update(stage), keys(Hint::RollBack, Hint::Keep));
    look("update-unchanged", update(UpdateStage::Trial { cases: 50, changed: &[] }), keys(Hint::RollBack, Hint::Keep));
    look("update-confirmed", update(UpdateStage::Confirmed), only(Hint::Done));
    look("update-rolled-back", update(UpdateStage::RolledBack(UpdateFailure::Declined, "")), only(Hint::Done));
    let detail = "film lung-03: p(covid19) is 0.412, expected 0.388 to 0.398";
    look("update-failed", update(UpdateStage::Failed(UpdateFailure::SelfTest, detail)), only(Hint::Done));

    let fault = FaultView {
        fault: Fault::StorageFull,
        since: Some(UNSURE),
        detail: "/var/lib/lightbox has 2 MB free, expected at least 200 MB",
        retrying: true,
    };
    look("fault", Screen::Fault(fault), keys(Hint::Retry, Hint::Review));
    let settings = SettingsView { chosen: Language::Hindi, current: Language::English };
    look("settings", Screen::Settings(settings), keys(Hint::NextLine, Hint::Choose));
}
