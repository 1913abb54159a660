//! The head of a `.npy` file (NumPy Enhancement Proposal 1): type, order and shape of an array.

/// What the head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// `float64`, or as NumPy writes it, as `[('a', '<i4')]`.
    pub(crate) dtype: String,
    /// `(1000, 20)`.
    pub(crate) shape: String,
    pub(crate) fortran: bool,
    /// Its members are objects, or have some: they are pickled.
    pub(crate) has_objects: bool,
}

/// Reads the head, or says why not, a clause.
pub(crate) fn describe(bytes: &[u8]) -> Result<Described, &'static str> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("it does not begin as one")?;
    let (version, rest) = rest.split_at_checked(2).ok_or("it is cut off")?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or("it is cut off")?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or("it is cut off")?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return Err("its version is not known"),
    };
    let head = rest.get(..length).ok_or("it is cut off")?;
    let head = std::str::from_utf8(head).map_err(|_| "its head is no text")?;
    let field = |name: &str| {
        let (_, rest) = head.split_once(&format!("'{name}':")).ok_or("its head lacks a field")?;
        Ok::<_, &'static str>(rest.trim_start())
    };
    let (descr, shape) = (field("descr")?, field("shape")?);
    let shape = shape.split_inclusive(')').next().unwrap_or(shape);
    Ok(Described {
        has_objects: names_objects(balanced(descr)),
        dtype: dtype(balanced(descr)),
        shape: shape.to_owned(),
        fortran: field("fortran_order")?.starts_with("True"),
    })
}

/// Whether its members are objects, or have some: those are pickled.
pub(crate) fn has_objects(bytes: &[u8]) -> bool {
    describe(bytes).is_ok_and(|array| array.has_objects)
}

/// Up to the comma that ends the value: not one within brackets.
fn balanced(text: &str) -> &str {
    let mut depth = 0_i32;
    for (at, char) in text.char_indices() {
        match char {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' | '}' if depth == 0 => return &text[..at],
            _ => {}
        }
    }
    text
}

/// NumPy writes a type of objects with its bar, which no name of a field needs.
fn names_objects(descr: &str) -> bool {
    descr.split(['\'', '"']).any(|part| part.starts_with("|O")) || descr.trim() == "'O'"
}

/// The name that people use for a type: `float64` for `'<f8'`.
pub(crate) fn dtype(code: &str) -> String {
    let bare = code.trim_matches('\'').trim_start_matches(['<', '>', '|', '=']);
    let swapped = if code.contains('>') { ", big-endian" } else { "" };
    let Some((kind, bytes)) = bare.split_at_checked(1) else { return code.to_owned() };
    let Ok(bytes) = bytes.parse::<u64>() else { return code.to_owned() };
    let name = match kind {
        "b" => "bool".into(),
        "i" => format!("int{}", bytes * 8),
        "u" => format!("uint{}", bytes * 8),
        "f" => format!("float{}", bytes * 8),
        "c" => format!("complex{}", bytes * 8),
        "O" => "object".into(),
        _ => bare.to_owned(),
    };
    format!("{name}{swapped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_array_is_told_without_reading_the_array() {
        let head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }\n";
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(u16::try_from(head.len()).unwrap_or(0).to_le_bytes());
        file.extend(head);
        let expected = Described {
            dtype: "float64".into(),
            shape: "(3, 4)".into(),
            fortran: false,
            has_objects: false,
        };
        assert_eq!(describe(&file), Ok(expected));
        assert_eq!(describe(&file[..20]), Err("it is cut off"));
    }

    #[test]
    fn a_record_type_is_told_as_numpy_writes_it() {
        assert_eq!(
            balanced("[('a', '<i4'), ('b', '<f8')], 'x': 1"),
            "[('a', '<i4'), ('b', '<f8')]"
        );
        assert_eq!(dtype("'>i4'"), "int32, big-endian");
        assert_eq!(dtype("'<U10'"), "U10");
        assert!(names_objects("'|O'") && names_objects("[('a', '<i4'), ('b', '|O')]"));
        assert!(!names_objects("[('O', '<i4')]") && !names_objects("'<f8'"));
    }
}
