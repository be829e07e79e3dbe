//! Which of the translations in an entry is the user's.

use std::ffi::OsString;

/// The user's locale for messages, as the locales of keys that fit it, the best first.
///
/// Source: Desktop Entry Specification 1.5, "Localized values for keys"; for `LANGUAGE`, gettext's
/// manual, "Specifying a Priority List of Languages".
pub fn fitting(variable: impl Fn(&str) -> Option<OsString>) -> Vec<String> {
    let set = |name: &str| variable(name)?.into_string().ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| set(name));
    let own = of(&locale.unwrap_or_default());
    if own.is_empty() {
        return own;
    }
    let preferred = set("LANGUAGE").unwrap_or_default();
    preferred.split(':').flat_map(of).chain(own).collect()
}

/// `de_AT.UTF-8@euro`: language, country, encoding (which does not count) and modifier.
fn of(locale: &str) -> Vec<String> {
    let (rest, modifier) = match locale.split_once('@') {
        Some((rest, modifier)) => (rest, Some(modifier)),
        None => (locale, None),
    };
    let rest = rest.split('.').next().unwrap_or_default();
    let (language, country) = match rest.split_once('_') {
        Some((language, country)) => (language, Some(country)),
        None => (rest, None),
    };
    if matches!(language, "" | "C" | "POSIX") {
        return Vec::new();
    }
    let mut all = Vec::new();
    if let (Some(country), Some(modifier)) = (country, modifier) {
        all.push(format!("{language}_{country}@{modifier}"));
    }
    all.extend(country.map(|country| format!("{language}_{country}")));
    all.extend(modifier.map(|modifier| format!("{language}@{modifier}")));
    all.push(language.to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_translation_comes_first() {
        assert_eq!(of("de_AT.UTF-8"), ["de_AT", "de"]);
        assert_eq!(of("sr_RS@latin"), ["sr_RS@latin", "sr_RS", "sr@latin", "sr"]);
        assert_eq!(of("ca@valencia"), ["ca@valencia", "ca"]);
        assert_eq!(of("C.UTF-8"), [""; 0]);
        assert_eq!(of(""), [""; 0]);
    }

    #[test]
    fn a_variable_goes_before_another() {
        let of = |set: &'static [(&str, &str)]| {
            fitting(|name| set.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).into()))
        };
        assert_eq!(of(&[("LANG", "de_DE.UTF-8"), ("LC_MESSAGES", "fr")]), ["fr"]);
        assert_eq!(of(&[("LANG", "de"), ("LC_ALL", "")]), ["de"]);
        assert_eq!(of(&[]), [""; 0]);
        let preferred = of(&[("LANGUAGE", "sv_FI:da"), ("LANG", "en_US.UTF-8")]);
        assert_eq!(preferred, ["sv_FI", "sv", "da", "en_US", "en"]);
        assert_eq!(of(&[("LANGUAGE", "de"), ("LANG", "C.UTF-8")]), [""; 0]);
    }
}
