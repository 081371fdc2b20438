//! Does an AS still belong to whom the catalog says? Compares organisations' names as tables write them. Looks nothing up.

use std::collections::BTreeSet;

/// Words that say what kind of company, network or address it is, not whose.
const KINDS: [&str; 45] = [
    "ab",
    "ag",
    "ao",
    "aps",
    "as",
    "asn",
    "bv",
    "co",
    "com",
    "company",
    "corp",
    "corporation",
    "dac",
    "ehf",
    "gmbh",
    "inc",
    "incorporated",
    "jsc",
    "kft",
    "kg",
    "limited",
    "llc",
    "llp",
    "lp",
    "ltd",
    "ltda",
    "nv",
    "ooo",
    "oy",
    "oyj",
    "pbc",
    "pjsc",
    "plc",
    "pt",
    "pte",
    "pty",
    "sa",
    "sarl",
    "sas",
    "se",
    "srl",
    "spa",
    "the",
    "tov",
    "zrt",
];

/// Does the name that a table gives an AS fit the expected one?
///
/// Tables write the same organisation in many ways: `TIKTOK PTE. LTD.`, `TikTok Pte Ltd`, `TIKTOK-AS-AP - TIKTOK PTE.
/// LTD.`. Case, punctuation, legal forms and numbers do not count. The names fit when their words are the same, or those
/// of one are all among those of the other. A name without words fits nothing.
#[must_use]
pub fn name_fits(expected: &str, found: &str) -> bool {
    let (expected, found) = (telling_words(expected), telling_words(found));
    !expected.is_empty() && !found.is_empty() && (expected.is_subset(&found) || found.is_subset(&expected))
}

/// The words of a name that say whose it is; all of them where none does.
fn telling_words(name: &str) -> BTreeSet<String> {
    let all = words(name);
    let is_telling = |word: &&String| !KINDS.contains(&word.as_str()) && !word.chars().all(char::is_numeric);
    let telling: BTreeSet<String> = all.iter().filter(is_telling).cloned().collect();
    if telling.is_empty() { all } else { telling }
}

/// The words of a name in lower case. Initials are one word: `B.V.` is `bv`, but `X.AI` is `x` and `ai`.
fn words(name: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for token in name.split(|c: char| !c.is_alphanumeric() && c != '.') {
        let parts = || token.split('.').filter(|part| !part.is_empty()).map(str::to_lowercase);
        if parts().all(|part| part.chars().count() == 1) {
            words.insert(parts().collect::<String>());
        } else {
            words.extend(parts());
        }
    }
    words.remove("");
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_organisation_in_another_spelling_fits() {
        let pairs = [
            ("TIKTOK PTE. LTD.", "TikTok Pte Ltd"),
            ("TIKTOK PTE. LTD.", "TIKTOK-AS-AP - TIKTOK PTE. LTD."),
            ("TIKTOK PTE. LTD.", "TIKTOK-AS-AP"),
            ("Bytedance Inc.", "BYTEDANCE"),
            ("Tiktok U.S. Data Security Inc.", "TikTok US Data Security, Inc"),
            ("Amazon.com, Inc.", "AMAZON-02"),
            ("i3D.net B.V", "i3D.net B.V."),
            ("OVH SAS", "OVH S.A.S."),
            ("Telegram Messenger Inc", "Telegram Messenger Incorporated"),
            ("YANDEX LLC", "Yandex"),
            ("LLC VK", "VK LLC"),
            ("GOG sp. z o.o", "GOG Sp. z o.o."),
            ("Hangzhou Alibaba Advertising Co.,Ltd.", "Alibaba"),
            ("ÉLECTRICITÉ SA", "électricité"),
            ("X Corp.", "X"),
            ("Limited", "LIMITED"),
        ];
        for (expected, found) in pairs {
            assert!(name_fits(expected, found), "{expected} <-> {found}");
            assert!(name_fits(found, expected), "{found} <-> {expected}");
        }
    }

    #[test]
    fn another_organisation_does_not_fit() {
        let pairs = [
            // What became of ASes that older lists call Alibaba and Discord.
            ("Alibaba (US) Technology Co., Ltd.", "AER-CA LLC"),
            ("Discord Inc.", "i3D.net B.V"),
            ("Meta Platforms, Inc.", "Metallurg LLC"),
            ("Facebook, Inc.", "Meta Platforms, Inc."),
            ("Valve Corporation", "Valvera s.r.o."),
            ("Netflix Inc", "Limited Liability Company Inc"),
            ("B.V.", "Ltd."),
            ("Twitter Inc.", ""),
            ("", ""),
            ("-", "Twitter Inc."),
            ("XAI - X.AI", "Xait AS"),
            // A word in common is not enough.
            ("Beijing Volcano Engine Technology Co., Ltd.", "Tencent Cloud Computing (Beijing) Co., Ltd"),
        ];
        for (expected, found) in pairs {
            assert!(!name_fits(expected, found) && !name_fits(found, expected), "{expected} <-> {found}");
        }
    }

    proptest! {
        #[test]
        fn fitting_is_mutual_and_blind_to_case_and_punctuation(name in "[ -~]{0,30}", other in "[ -~]{0,30}") {
            prop_assert_eq!(name_fits(&name, &other), name_fits(&other, &name));
            if name.chars().any(|c| c.is_ascii_alphanumeric()) {
                prop_assert!(name_fits(&name, &name.to_uppercase()));
                let dressed = format!("({name}), Ltd.");
                prop_assert!(name_fits(&name, &dressed));
            }
        }
    }
}
