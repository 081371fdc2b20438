//! What may have been meant by a name that is not in the catalog. Suggests, and never picks one itself.

use super::{Catalog, Category, Service};

/// Suggestions are for a line of a terminal.
const MOST: usize = 3;

impl Catalog {
    /// Ids of the services whose id or name is nearest to a misspelt id, the nearest first; empty where none is near.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Vec<&str> {
        near(id, self.services().map(|Service { id, name, .. }| (id.as_str(), name.as_str())))
    }

    /// The same for categories.
    #[must_use]
    pub fn nearest_category(&self, id: &str) -> Vec<&str> {
        near(id, self.categories().iter().map(|Category { id, name }| (id.as_str(), name.as_str())))
    }

    /// What to tell whoever gave `id` as a service that is not in this catalog.
    #[must_use]
    pub fn no_such_service(&self, id: &str) -> String {
        if self.category(id).is_some() {
            let services: Vec<_> = self.services_of(id).map(|service| service.id.as_str()).collect();
            return format!("\"{id}\" is a category, not a service; its services: {}", services.join(", "));
        }
        let meant = did_you_mean(&self.nearest(id));
        format!("service \"{id}\" is not in the catalog;{meant} `weir catalog list` shows all")
    }
}

/// A question that names the suggestions, with a space before it; nothing where there are none.
#[must_use]
pub(super) fn did_you_mean(ids: &[&str]) -> String {
    if ids.is_empty() { String::new() } else { format!(" did you mean {}?", ids.join(" or ")) }
}

fn near<'a>(wanted: &str, candidates: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    // A third of the letters may be wrong; in short names one.
    let limit = (wanted.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = candidates
        .filter_map(|(id, name)| {
            let part = wanted.chars().count() >= 3 && (id.contains(&wanted) || name.to_lowercase().contains(&wanted));
            let distance = if part { 1 } else { distance(&wanted, id) };
            (distance <= limit).then_some((distance, id))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, id)| id).take(MOST).collect()
}

/// How many letters must be put in, taken out or replaced to make `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (&other, &above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(letter != other)).min(above + 1).min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Straight from the definition.
    fn by_definition(a: &[char], b: &[char]) -> usize {
        match (a, b) {
            ([], rest) | (rest, []) => rest.len(),
            ([x, a_rest @ ..], [y, b_rest @ ..]) if x == y => by_definition(a_rest, b_rest),
            ([_, a_rest @ ..], [_, b_rest @ ..]) => {
                1 + by_definition(a_rest, b_rest).min(by_definition(a_rest, b)).min(by_definition(a, b_rest))
            }
        }
    }

    proptest! {
        #[test]
        fn the_distance_is_that_of_the_definition(a in "[abc]{0,6}", b in "[abc]{0,6}") {
            let (left, right): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(distance(&a, &b), by_definition(&left, &right));
        }
    }

    #[test]
    fn what_was_meant_is_suggested_and_nothing_far_off() {
        let catalog = Catalog::embedded();
        assert_eq!(catalog.nearest("tiktak"), ["tiktok"]);
        assert_eq!(catalog.nearest("TikTok"), ["tiktok"]);
        assert_eq!(catalog.nearest("xbox"), ["xboxlive"]);
        assert_eq!(catalog.nearest("openai"), ["chatgpt", "opera"]);
        assert_eq!(catalog.nearest("fecebok"), ["facebook"]);
        assert_eq!(catalog.nearest("gogle").first(), Some(&"google"));
        assert!(catalog.nearest("cloud").len() <= MOST);
        assert_eq!(catalog.nearest("qqqqqqqqqq"), [""; 0]);
        assert_eq!(catalog.nearest(""), [""; 0]);
        assert_eq!(catalog.nearest_category("gamign"), ["gaming"]);
    }

    #[test]
    fn a_category_in_the_place_of_a_service_is_told_apart() {
        let catalog = Catalog::embedded();
        assert_eq!(
            catalog.no_such_service("tiktak"),
            "service \"tiktak\" is not in the catalog; did you mean tiktok? `weir catalog list` shows all"
        );
        assert_eq!(
            catalog.no_such_service("qqqqqqqqqq"),
            "service \"qqqqqqqqqq\" is not in the catalog; `weir catalog list` shows all"
        );
        let message = catalog.no_such_service("dating");
        assert!(message.starts_with("\"dating\" is a category, not a service; its services: badoo, "), "{message}");
    }
}
