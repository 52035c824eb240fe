//! Calendar days, as the newspaper writes them and as HTTP does. No clock is read here: the
//! newspaper's edition has a fixed date, so that its bytes do.

/// Seconds in a day.
pub(super) const DAY: u64 = 86_400;

const EN_MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const BE_MONTHS: [&str; 12] = [
    "студзеня",
    "лютага",
    "сакавіка",
    "красавіка",
    "мая",
    "чэрвеня",
    "ліпеня",
    "жніўня",
    "верасня",
    "кастрычніка",
    "лістапада",
    "снежня",
];

/// An HTTP date (IMF-fixdate) of seconds since 1970.
pub(super) fn http_date(at: u64) -> String {
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(at / DAY % 7) as usize];
    let (year, month, day) = civil(at / DAY);
    let month = &EN_MONTHS[month - 1][..3];
    let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// `2026-05-14`, for `<time datetime>`.
pub(super) fn iso(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    format!("{year}-{month:02}-{day:02}")
}

/// `14 May 2026`
pub(super) fn english(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    format!("{day} {} {year}", EN_MONTHS[month - 1])
}

/// `14 мая 2026 г.`
pub(super) fn belarusian(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    format!("{day} {} {year} г.", BE_MONTHS[month - 1])
}

/// Days since 1970 to year, month from 1, and day of month (Hinnant's algorithm).
fn civil(days: u64) -> (u64, usize, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_and_people_write_them() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(iso(951_782_400), "2000-02-29");
        assert_eq!(english(1_778_760_000), "14 May 2026");
        assert_eq!(belarusian(1_778_760_000), "14 мая 2026 г.");
    }
}
