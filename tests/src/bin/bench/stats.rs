//! Medians, percentiles and ratios. Pure.

/// What a series of samples comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) p10: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
}

/// The summary of a series; `None` of nothing.
pub(crate) fn summary(samples: &[f64]) -> Option<Summary> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(Summary { p10: percentile(&sorted, 0.1)?, median: percentile(&sorted, 0.5)?, p90: percentile(&sorted, 0.9)? })
}

/// The median of a series; `None` of nothing.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    summary(samples).map(|summary| summary.median)
}

/// A percentile of sorted samples, between two of them where it falls between.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share * last as f64;
    #[expect(clippy::cast_sign_loss, reason = "shares are not negative")]
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * at.fract())
}

/// The ratio of two series, round by round: a slow moment of the machine meets both.
pub(crate) fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

/// The difference of two series, round by round.
pub(crate) fn differences(from: &[f64], less: &[f64]) -> Vec<f64> {
    from.iter().zip(less).map(|(from, less)| from - less).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn median_and_percentiles_are_those_that_numpy_gives() {
        // numpy.percentile([15, 20, 35, 40, 50], [10, 50, 90]): 17, 35, 46.
        let Summary { p10, median, p90 } = summary(&[50.0, 15.0, 40.0, 20.0, 35.0]).unwrap();
        assert!(close(p10, 17.0) && close(median, 35.0) && close(p90, 46.0), "{p10} {median} {p90}");
        // numpy.percentile([1, 2, 3, 4], [10, 50, 90]): 1.3, 2.5, 3.7.
        let Summary { p10, median, p90 } = summary(&[4.0, 3.0, 2.0, 1.0]).unwrap();
        assert!(close(p10, 1.3) && close(median, 2.5) && close(p90, 3.7), "{p10} {median} {p90}");
    }

    #[test]
    fn one_sample_is_all_percentiles_and_none_has_no_summary() {
        assert_eq!(summary(&[7.0]), Some(Summary { p10: 7.0, median: 7.0, p90: 7.0 }));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_slow_round_that_meets_both_does_not_change_the_ratio() {
        let (null, weir) = ([100.0, 300.0, 110.0], [120.0, 360.0, 132.0]);
        assert!(ratios(&weir, &null).iter().all(|&ratio| close(ratio, 1.2)));
        assert_eq!(differences(&weir, &null), [20.0, 60.0, 22.0]);
    }
}
