//! Numbers, sizes and dates as each language writes them.
//!
//! Digits are the European ones everywhere: patients' numbers, versions and the marks on a film have no others, and one
//! screen should not count in two ways.

use super::{Phrase, Words};
use crate::domain::{Language, Probability};
use crate::ui::When;

impl Words {
    /// Whole percent; never "0 %" or "100 %" for what is only nearly so.
    pub(in crate::ui) fn percent(self, p: Probability) -> String {
        let hundredths = p.get() * 100.0;
        if hundredths > 0.0 && hundredths < 1.0 {
            self.say(Phrase::BelowOnePercent).to_owned()
        } else if hundredths > 99.0 && hundredths < 100.0 {
            self.say(Phrase::Above99Percent).to_owned()
        } else {
            self.with_number(Phrase::Percent, &format!("{hundredths:.0}"))
        }
    }

    /// The widest that a percentage gets.
    pub(in crate::ui) fn widest_percent(self) -> &'static str {
        self.say(Phrase::Above99Percent)
    }

    /// A share from 0 to 1 as percent with one digit after the point.
    pub(in crate::ui) fn fine_percent(self, share: f64) -> String {
        self.with_number(Phrase::Percent, &self.decimal(share * 100.0, 1))
    }

    /// A whole number in groups.
    pub(in crate::ui) fn count(self, number: u64) -> String {
        let digits = number.to_string();
        // The Spanish and Portuguese leave four digits together.
        let least = if matches!(self.0, Language::Spanish | Language::Portuguese) { 5 } else { 4 };
        if digits.len() < least {
            return digits;
        }
        let separator = match self.0 {
            Language::French | Language::Spanish => '\u{202f}',
            Language::Portuguese | Language::Vietnamese => '.',
            Language::English | Language::Swahili | Language::Hindi | Language::Arabic => ',',
        };
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            let left = digits.len() - index;
            // After the thousands Hindi counts in hundreds: lakh, crore.
            let ends = match self.0 {
                Language::Hindi => left == 3 || left > 3 && (left - 3).is_multiple_of(2),
                _ => left.is_multiple_of(3),
            };
            if index > 0 && ends {
                grouped.push(separator);
            }
            grouped.push(digit);
        }
        grouped
    }

    /// A number with that many digits after the point or comma.
    pub(in crate::ui) fn decimal(self, number: f64, digits: usize) -> String {
        let written = format!("{number:.digits$}");
        match self.0 {
            Language::French | Language::Spanish | Language::Portuguese | Language::Vietnamese => {
                written.replace('.', ",")
            }
            Language::English | Language::Swahili | Language::Hindi | Language::Arabic => written,
        }
    }

    /// A number of bytes, as megabytes or gigabytes.
    pub(in crate::ui) fn bytes(self, bytes: u64) -> String {
        const MEGA: f64 = 1e6;
        const GIGA: f64 = 1e9;
        let bytes = bytes as f64;
        if bytes < 9.95 * MEGA {
            self.with_number(Phrase::Megabytes, &self.decimal(bytes / MEGA, 1))
        } else if bytes < 999.5 * MEGA {
            self.with_number(Phrase::Megabytes, &self.decimal(bytes / MEGA, 0))
        } else {
            self.with_number(Phrase::Gigabytes, &self.decimal(bytes / GIGA, 1))
        }
    }

    /// Day and time to the minute.
    pub(in crate::ui) fn moment(self, when: When) -> String {
        let Civil { year, month, day, hour, minute } = Civil::of(when);
        let time = format!("{hour:02}:{minute:02}");
        let (day, year) = (day.to_string(), year.to_string());
        let name = self.months()[month as usize - 1];
        let values = [("day", day.as_str()), ("month", name), ("year", &year), ("time", &time)];
        // Parts of a date are ours: they need no isolation from each other.
        values.iter().fold(self.say(Phrase::Moment).to_owned(), |said, (name, value)| {
            said.replace(&format!("{{{name}}}"), value)
        })
    }

    fn with_number(self, phrase: Phrase, number: &str) -> String {
        self.say(phrase).replace("{number}", number)
    }
}

/// A moment on the calendar and the clock of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    /// 1 to 12.
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
}

impl Civil {
    /// Howard Hinnant's days-to-civil, over eras of 400 years that begin in March.
    fn of(when: When) -> Self {
        const DAY_S: i64 = 86_400;
        const ERA_DAYS: i64 = 146_097;
        let local = when.unix_s.saturating_add(i64::from(when.utc_offset_s));
        let (days, second) = (local.div_euclid(DAY_S), local.rem_euclid(DAY_S));
        let since_march = days + 719_468;
        let (era, of_era) = (since_march.div_euclid(ERA_DAYS), since_march.rem_euclid(ERA_DAYS));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day, hour: (second / 3600) as u32, minute: (second / 60 % 60) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_s: i64, utc_offset_s: i32) -> When {
        When { unix_s, utc_offset_s, verified: true }
    }

    #[test]
    fn what_is_nearly_certain_is_not_shown_as_certain() {
        let shown = |p| {
            let p = Probability::new(p).expect("a probability");
            Words(Language::English).percent(p).replace('\u{a0}', " ")
        };
        let expected = ["0 %", "<1 %", "<1 %", "1 %", "50 %", "99 %", ">99 %", ">99 %", "100 %"];
        for (p, expected) in [0.0, 1e-9, 0.005, 0.0101, 0.5, 0.99, 0.9901, 0.999_999, 1.0].into_iter().zip(expected) {
            assert_eq!(shown(p), expected, "{p}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let civil = |unix_s| Civil::of(at(unix_s, 0));
        assert_eq!(civil(0), Civil { year: 1970, month: 1, day: 1, hour: 0, minute: 0 });
        assert_eq!(civil(951_782_399), Civil { year: 2000, month: 2, day: 28, hour: 23, minute: 59 });
        assert_eq!(civil(951_782_400), Civil { year: 2000, month: 2, day: 29, hour: 0, minute: 0 });
        assert_eq!(civil(1_795_612_799), Civil { year: 2026, month: 11, day: 25, hour: 13, minute: 19 });
        assert_eq!(civil(-1), Civil { year: 1969, month: 12, day: 31, hour: 23, minute: 59 });
        let new_year = Civil::of(at(1_798_756_200, 7 * 3600));
        assert_eq!(new_year, Civil { year: 2027, month: 1, day: 1, hour: 5, minute: 30 });
        // No clock is too wrong to be shown.
        Civil::of(at(i64::MAX, i32::MAX));
        Civil::of(at(i64::MIN, i32::MIN));
    }
}
