//! `strftime_now(format)`: the date in a prompt, in UTC.

use minijinja::{Error, ErrorKind, State};

/// The template variable that holds the time, in seconds since 1970.
pub(super) const NOW_VARIABLE: &str = "sferic_now_unix_secs";

const SECS_PER_DAY: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The template function.
pub(super) fn strftime_now(state: &State, format: &str) -> Result<String, Error> {
    let given = state.lookup(NOW_VARIABLE).and_then(|value| value.as_i64());
    let now = given.or_else(clock_unix_secs).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, "strftime_now: there is no clock here, the caller must give the time")
    })?;
    Ok(strftime(format, now))
}

// The browser's std has no clock and panics when asked.
#[cfg(target_arch = "wasm32")]
fn clock_unix_secs() -> Option<i64> {
    None
}

#[cfg(not(target_arch = "wasm32"))]
fn clock_unix_secs() -> Option<i64> {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_secs()).ok()
}

/// Formats a time; directives it does not know stay as they are.
fn strftime(format: &str, unix_secs: i64) -> String {
    let days = unix_secs.div_euclid(SECS_PER_DAY);
    let secs = unix_secs.rem_euclid(SECS_PER_DAY);
    let (year, month, day, year_day) = civil_from_days(days);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    let month_name = usize::try_from(month - 1).ok().and_then(|idx| MONTHS.get(idx)).copied().unwrap_or_default();
    // 1970-01-01 was a Thursday.
    let weekday = (days + 4).rem_euclid(7);
    let weekday_name = usize::try_from(weekday).ok().and_then(|idx| WEEKDAYS.get(idx)).copied().unwrap_or_default();
    let hour_12 = (hour + 11) % 12 + 1;

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        // glibc's `-` drops leading zeros.
        let (padded, directive) = if directive == Some('-') { (false, chars.next()) } else { (true, directive) };
        let number = |value: i64, width: usize| if padded { format!("{value:0width$}") } else { value.to_string() };
        out.push_str(&match directive {
            Some('Y') => year.to_string(),
            Some('y') => number(year.rem_euclid(100), 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') => format!("{day:2}"),
            Some('j') => number(year_day, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(hour_12, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('B') => month_name.into(),
            Some('b' | 'h') => month_name.chars().take(3).collect(),
            Some('A') => weekday_name.into(),
            Some('a') => weekday_name.chars().take(3).collect(),
            Some('w') => weekday.to_string(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('s') => unix_secs.to_string(),
            Some('Z') => "UTC".into(),
            Some('z') => "+0000".into(),
            Some('%') => "%".into(),
            Some(other) => format!("%{other}"),
            None => "%".into(),
        });
    }
    out
}

/// Returns year, month, day and day of the year, all but the year counted from 1.
fn civil_from_days(days: i64) -> (i64, i64, i64, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    // 146 097 days are 400 years.
    let mut year = 1970 + days.div_euclid(146_097) * 400;
    let mut rest = days.rem_euclid(146_097);
    while rest >= 365 + i64::from(is_leap(year)) {
        rest -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let year_day = rest + 1;
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for n_days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if rest < n_days {
            break;
        }
        rest -= n_days;
        month += 1;
    }
    (year, month, rest + 1, year_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_match_python() {
        // From CPython: datetime.fromtimestamp(t, timezone.utc).strftime(…).
        for (unix_secs, expected) in [
            (0, "1970-01-01 00:00:00 Thursday Jan 001 12 AM"),
            (951_782_399, "2000-02-28 23:59:59 Monday Feb 059 11 PM"),
            (951_868_800, "2000-03-01 00:00:00 Wednesday Mar 061 12 AM"),
            (1_735_646_400, "2024-12-31 12:00:00 Tuesday Dec 366 12 PM"),
            (4_107_542_400, "2100-03-01 00:00:00 Monday Mar 060 12 AM"),
            (-1, "1969-12-31 23:59:59 Wednesday Dec 365 11 PM"),
        ] {
            assert_eq!(strftime("%Y-%m-%d %H:%M:%S %A %b %j %I %p", unix_secs), expected);
        }
        assert_eq!(strftime("%d %B %Y, %-d %e %%%q %", 0), "01 January 1970, 1  1 %%q %");
    }
}
