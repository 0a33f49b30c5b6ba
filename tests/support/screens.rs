//! One of every screen, with all that it borrows.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part that it needs")]

use lightbox::domain::{
    ArchiveTrouble, AuditFigure, Change, Channels, Doubt, Films, Finding, Fit, GreyImage, GreyScale, InputSpec,
    Language, Measure, OperatingPoint, Probabilities, Reading, Reason, Rejection, SaliencyMap, Told, Topic, Verdict,
    Window,
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
    let changed = [Health::Journal(JournalHealth::Broken), Health::Model(model), Health::Clock { verified: true }];
    let ready =
        ReadyView { health: &changed, ways: &[Way::Drive], read: 7, waiting: 0, now: Some(NOW), left_out: None };
    look("ready-record-changed", Screen::Ready(ready), keys(Hint::Review, Hint::Settings));
    for trouble in ArchiveTrouble::ALL {
        let archive = [Health::Archive { waiting: 1206, since: Some(NOW), refused: 3, trouble: Some(trouble) }];
        let name = format!("ready-archive-{trouble:?}").to_lowercase();
        let ready =
            ReadyView { health: &archive, ways: &[Way::Drive], read: 7, waiting: 0, now: Some(NOW), left_out: None };
        look(&name, Screen::Ready(ready), keys(Hint::Review, Hint::Settings));
    }
    let ways = [
        Way::Network { ae_title: "LIGHTBOX", address: "192.168.1.30:11112" },
        Way::Drive,
        Way::Folder { name: "films" },
        Way::Camera,
    ];
    let ready = ReadyView { health: &well, ways: &ways[..2], read: 12_345, waiting: 0, now: Some(NOW), left_out: None };
    look("ready", Screen::Ready(ready), keys(Hint::Review, Hint::Settings));
    let trial = ModelHealth::OnTrial { name: "chest-mobilenet", version: "1.3.0" };
    let unwell = [
        Health::Storage(StorageHealth::NearlyFull { bytes: 412_000_000 }),
        Health::Model(trial),
        Health::Listener(PartHealth::Restarting),
        Health::Archive { waiting: 12, since: Some(NOW), refused: 0, trouble: Some(ArchiveTrouble::Unreachable) },
        Health::Temperature { celsius: 81, level: Level::Attention },
        Health::Power { low: true },
        Health::Clock { verified: false },
    ];
    let ready = ReadyView { health: &unwell, ways: &ways, read: 7, waiting: 3, now: Some(UNSURE), left_out: None };
    look("ready-unwell", Screen::Ready(ready), keys(Hint::Review, Hint::Settings));

    for (name, reason) in [
        ("known", None),
        ("empty", Some(Reason::EmptyFile)),
        ("large", Some(Reason::FileTooLarge)),
        ("unknown", Some(Reason::UnknownFormat)),
    ] {
        let left_out = Some(LeftOut { name: "thorax-pa-20…rin-03.jpeg", reason });
        let ready = ReadyView { health: &well, ways: &ways[2..3], read: 12_345, waiting: 0, now: Some(NOW), left_out };
        look(&format!("ready-left-out-{name}"), Screen::Ready(ready), keys(Hint::Review, Hint::Settings));
    }

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
    let ready = ReadyView { health: &well, ways: &ways[2..], read: 12_345, waiting: 0, now: Some(NOW), left_out: None };
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
        ReadingView { film: Some(shown), step: ReadingStep::Infer, who: Some(Who::Patient("P-104233")), waiting: 2 };
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
    look("review", Screen::Review(ReviewView { rows: Some(&rows), chosen: 2 }), keys(Hint::NextLine, Hint::Open));
    look("review-empty", Screen::Review(ReviewView { rows: Some(&[]), chosen: 0 }), only(Hint::Back));

    let figure = |measure: Measure, value: f64, films| AuditFigure {
        name: measure.name(),
        value,
        low: value - 0.071,
        high: value + 0.055,
        films,
    };
    let (held_out, external) = (Films::HeldOut, Films::External);
    let figures = [
        figure(Measure::Sensitivity(held_out), 0.871, 963),
        figure(Measure::Sensitivity(external), 0.812, 1420),
        figure(Measure::Specificity(held_out), 0.918, 963),
        figure(Measure::Specificity(external), 0.904, 1420),
        figure(Measure::Auc(held_out), 0.931, 963),
        figure(Measure::Auc(external), 0.887, 1420),
        figure(Measure::AucLungsBlack(external), 0.548, 600),
        figure(Measure::AucBorderOnly(external), 0.531, 600),
        figure(Measure::OthersRefused, 0.942, 38),
        figure(Measure::FilmsRefused(external), 0.073, 1420),
    ];
    let change = |topic, before: Option<Told>, after: Option<Told>| Change { topic, before, after };
    let text = |text: &str| Some(Told::Text(text.to_owned()));
    let digest = |digit: &str| Some(Told::Digest(digit.repeat(64)));
    let input = |width, scale| {
        let spec = InputSpec::new(160, width, Fit::Letterbox, 0.0, scale, Channels::Grey, vec![0.5], vec![0.25]);
        Some(Told::Input(spec.expect("an input")))
    };
    let signer = |name: &str, role, revoked| Some(Told::Signer { name: name.to_owned(), role, revoked });
    let auc = Measure::Auc(external);
    let changes = [
        change(Topic::Model, text("chest-mobilenet 1.2.0"), text("chest-mobilenet 1.3.0")),
        change(Topic::BundleVersion, Some(Told::Count(12)), Some(Told::Count(13))),
        change(Topic::BundleDigest, digest("a"), digest("7")),
        change(Topic::MinimumProgram, text("0.1.0"), text("0.2.0")),
        change(Topic::Signature("7f".repeat(8)), None, signer("St Mary's radiology", "site", true)),
        change(Topic::NetworkDigest, digest("c"), digest("9")),
        change(Topic::Input, input(200, GreyScale::AsShown), input(224, GreyScale::Equalised)),
        change(Topic::Temperature, Some(Told::Number(1.314)), Some(Told::Number(1.734))),
        change(Topic::RuleOut, Some(Told::Share(0.12)), Some(Told::Share(0.1))),
        change(Topic::RuleIn, Some(Told::Share(0.45)), Some(Told::Share(0.52))),
        change(Topic::PneumoniaBelow, Some(Told::Share(0.4)), Some(Told::Share(0.38))),
        change(Topic::NormalAbove, Some(Told::Share(0.6)), Some(Told::Share(0.625))),
        change(Topic::NoveltyLimit, Some(Told::Nothing), Some(Told::Number(14.25))),
        change(Topic::FindsLungs, Some(Told::Is(false)), Some(Told::Is(true))),
        change(Topic::Judges, Some(Told::Film), Some(Told::Lungs { margin: 0.04 })),
        change(Topic::GoldenFilms, Some(Told::Count(4)), Some(Told::Count(12))),
        change(
            Topic::Figure(auc.name()),
            Some(Told::Figure(figure(auc, 0.86, 900))),
            Some(Told::Figure(figures[5].clone())),
        ),
        change(Topic::Audit, Some(Told::Nothing), None),
    ];
    let signer = |name, revoked| Signer { name, revoked };
    let signers = [signer("Lightbox release", false), signer("St Mary's radiology", true)];
    let update =
        |stage| Screen::Update(UpdateView { name: "chest-mobilenet", version: "1.3.0", running: Some("1.2.0"), stage });
    let offer = |page| UpdateStage::Offered(Offer { signers: &signers, figures: &figures, changes: &changes, page });
    look("update-offered", update(offer(OfferPage::Summary)), keys(Hint::NextPage, Hint::Decline));
    look("update-figures", update(offer(OfferPage::Figures)), keys(Hint::NextPage, Hint::Decline));
    look("update-differences", update(offer(OfferPage::Differences)), keys(Hint::NextPage, Hint::Install));
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
