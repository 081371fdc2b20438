//! The token that lets a caller in: read from its file, or made at the first start. Its text goes to nobody else.

use std::path::{Path, PathBuf};

use super::access::Token;
use crate::store::{self, Store};

/// Why there is no token. What needs one is refused until there is.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// The file cannot be read.
    #[error("{0:#}; what needs a token is refused")]
    Unreadable(#[from] store::ReadError),
    /// It holds something else.
    #[error(
        "{} holds no token: give one line of {SHORTEST} to {LONGEST} visible characters; what needs a token is refused",
        .0.display()
    )]
    Malformed(PathBuf),
    /// None can be made.
    #[error("cannot make the token {}: {source}; what needs a token is refused", path.display())]
    NotMade {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

const SHORTEST: usize = 16;
const LONGEST: usize = 512;

/// The token at `given`, or else the one in the state directory, which is made where there is none; and where it is.
pub(super) fn find(given: Option<&Path>, state_dir: &Path) -> Result<(Token, PathBuf), TokenError> {
    if let Some(path) = given {
        let text = store::read("token", path)?;
        return parse(&text).map(|token| (token, path.into())).ok_or_else(|| TokenError::Malformed(path.into()));
    }
    let store = Store::new(state_dir);
    let path = store.token_path();
    let text = store.token(fresh).map_err(|source| TokenError::NotMade { path: path.clone(), source })?;
    parse(&text).map(|token| (token, path.clone())).ok_or(TokenError::Malformed(path))
}

fn parse(text: &[u8]) -> Option<Token> {
    let text = str::from_utf8(text).ok()?.trim();
    let good = (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| Token::new(text))
}

/// 256 bits of the kernel's, in hexadecimal digits.
fn fresh() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push("\n".into());
    Ok(text.concat())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_may_read_it() {
        let directory = std::env::temp_dir().join(format!("weir-token-{}", std::process::id()));
        let (_, path) = find(None, &directory).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() == 65 && text.ends_with('\n'), "{text:?}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        find(None, &directory).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "it stays");
        let own = directory.join("own");
        for bad in ["", "short", "has a blank in the middle of it", &"x".repeat(LONGEST + 1)] {
            fs::write(&own, bad).unwrap();
            let problem = find(Some(&own), &directory).map(|_| ()).unwrap_err().to_string();
            assert!(problem.contains("holds no token"), "{bad:?}: {problem}");
        }
        fs::write(&own, "  0123456789abcdef \n").unwrap();
        assert_eq!(find(Some(&own), &directory).unwrap().1, own);
        fs::remove_file(&own).unwrap();
        assert!(find(Some(&own), &directory).is_err(), "a file that is named must be there");
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "in the way").unwrap();
        let problem = find(None, &directory).map(|_| ()).unwrap_err().to_string();
        assert!(problem.contains("cannot make the token"), "{problem}");
        fs::remove_file(&directory).unwrap();
    }
}
