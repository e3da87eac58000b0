//! The valid name that a wrong one was probably meant to be.

/// The nearest of `names` to `wrong`, if any is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    nearest_of(wrong, names, 3)
}

/// The same; of so many letters, one may be another.
pub(super) fn nearest_of<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
    letters: usize,
) -> Option<&'a str> {
    let alike = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let wrong = alike(wrong);
    // A far longer name is nobody's typo, and the comparison costs the product of the lengths.
    if wrong.len() > LONGEST {
        return None;
    }
    let distance = |name: &'a str| {
        let cut_short = wrong.len() >= 3 && name.starts_with(&wrong);
        let edits = if cut_short { 1 } else { edits(wrong.as_bytes(), alike(name).as_bytes()) };
        (edits, name)
    };
    let (edits, name) = names.into_iter().map(distance).min_by_key(|(edits, _)| *edits)?;
    (edits <= name.len().max(wrong.len()) / letters).then_some(name)
}

const LONGEST: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, j) + usize::from(x != y);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(a.len())
}
