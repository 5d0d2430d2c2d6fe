//! Python's pickles, as far as `torch.save` and `torch.jit.save` write them for tensors.
//!
//! A pickle is a program that may call any function of Python. This interpreter has no functions: it knows the few names that
//! tensors are made of, turns each into a value of its own, and refuses every other name. Nothing is run or imported.
//!
//! Values lie in one list and refer to each other by their places in it, so that a value that contains itself or is shared
//! many times costs nothing. Memory: at most [`MOST_VALUES`] values, and their texts, which are part of the pickle.

use std::collections::HashMap;

use super::pickled::{Pickled, PickledName, PickledTensor, Storage, Unpickled, ValueId};
use super::stored::ElementType;

/// Most values in a pickle. That of GPT-2 XL has some 10,000.
const MOST_VALUES: usize = 1 << 20;
/// Longest name of a class or a function.
const LONGEST_NAME: usize = 1 << 10;
/// Longest name of a storage, which PyTorch counts.
const LONGEST_KEY: usize = 64;
/// Most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 16;

/// Interprets a pickle. `script`: it is that of a TorchScript module, whose classes are its own.
///
/// # Errors
/// The cause: it is damaged, too large, or more than tensors.
pub(super) fn unpickle(bytes: &[u8], script: bool) -> Result<Unpickled, String> {
    let mut machine = Machine { rest: bytes, script, ..Machine::default() };
    loop {
        let code = machine.byte()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Unpickled::new(machine.values, root));
        }
        machine.step(code)?;
    }
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    script: bool,
    values: Vec<Pickled>,
    stack: Vec<ValueId>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, ValueId>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'}' => self.push(Pickled::Dict(Vec::new())),
            b']' => self.push(Pickled::List(Vec::new())),
            b')' => self.push(Pickled::Tuple(Vec::new())),
            b'N' => self.push(Pickled::None),
            0x88 | 0x89 => self.push(Pickled::Bool(code == 0x88)),
            b'K' | b'M' | b'J' | 0x8a => self.integer(code),
            b'G' => {
                let bits = self.array::<8>()?;
                self.push(Pickled::Float(f64::from_be_bytes(bits)))
            }
            b'X' | 0x8c => self.text(code),
            b'(' => {
                // As many marks as values can be on the stack.
                if self.marks.len() >= MOST_VALUES {
                    return Err(too_large());
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Pickled::Tuple(items))
            }
            0x85..=0x87 => self.tuple(usize::from(code - 0x84)),
            b'q' | b'r' | 0x94 => self.remember(code),
            b'h' | b'j' => self.recall(code),
            b'a' | b'e' => self.append(code),
            b's' | b'u' => self.set_items(code),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.name(&module, &name)
            }
            b'Q' => self.storage(),
            b'R' => self.call(),
            0x81 => self.new_object(),
            b'b' => self.build(),
            0x80 => self.byte().map(drop),
            0x95 => self.array::<8>().map(drop),
            other => Err(format!("it uses instruction {other:#04x} of pickles, which tensors do not need")),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| cut_short())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().take(LONGEST_NAME).position(|&b| b == b'\n').ok_or_else(cut_short)?;
        let line = self.take(end)?;
        self.byte()?;
        std::str::from_utf8(line).map_err(|_| "a name in it is not UTF-8".into())
    }

    fn push(&mut self, value: Pickled) -> Result<(), String> {
        if self.values.len() >= MOST_VALUES {
            return Err(too_large());
        }
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<ValueId, String> {
        // What is below a mark belongs to somebody else.
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return Err(contradictory());
        }
        self.stack.pop().ok_or_else(contradictory)
    }

    fn top(&self) -> Result<ValueId, String> {
        self.stack.last().copied().ok_or_else(contradictory)
    }

    fn pop_text(&mut self) -> Result<String, String> {
        let place = self.pop()?;
        match &self.values[place] {
            Pickled::Text(text) => Ok(text.clone()),
            _ => Err(contradictory()),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<ValueId>, String> {
        let mark = self.marks.pop().ok_or_else(contradictory)?;
        if mark > self.stack.len() {
            return Err(contradictory());
        }
        Ok(self.stack.split_off(mark))
    }

    fn integer(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'K' => i64::from(self.byte()?),
            b'M' => i64::from(u16::from_le_bytes(self.array()?)),
            b'J' => i64::from(i32::from_le_bytes(self.array()?)),
            _ => {
                let length = usize::from(self.byte()?);
                let digits = self.take(length)?;
                if length > 8 {
                    return Err("it holds an integer of more than 64 bits".into());
                }
                let sign = digits.last().map_or(0, |&b| if b & 0x80 == 0 { 0 } else { 0xff });
                let mut all = [sign; 8];
                all[..length].copy_from_slice(digits);
                i64::from_le_bytes(all)
            }
        };
        self.push(Pickled::Int(value))
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let length = if code == b'X' { u32::from_le_bytes(self.array()?) as usize } else { usize::from(self.byte()?) };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text in it is not UTF-8".to_string())?;
        self.push(Pickled::Text(text.into()))
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Pickled::Tuple(items))
    }

    fn remember(&mut self, code: u8) -> Result<(), String> {
        let key = match code {
            b'q' => u32::from(self.byte()?),
            b'r' => u32::from_le_bytes(self.array()?),
            _ => u32::try_from(self.memo.len()).map_err(|_| too_large())?,
        };
        if self.memo.len() >= MOST_VALUES {
            return Err(too_large());
        }
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<(), String> {
        let key = if code == b'h' { u32::from(self.byte()?) } else { u32::from_le_bytes(self.array()?) };
        let place = *self.memo.get(&key).ok_or_else(contradictory)?;
        // Recalled values take no new place, and are bounded all the same.
        if self.stack.len() >= MOST_VALUES {
            return Err(too_large());
        }
        self.stack.push(place);
        Ok(())
    }

    fn append(&mut self, code: u8) -> Result<(), String> {
        let items = if code == b'a' { vec![self.pop()?] } else { self.since_mark()? };
        let list = self.top()?;
        match &mut self.values[list] {
            Pickled::List(list) => list.extend(items),
            _ => return Err(contradictory()),
        }
        Ok(())
    }

    fn set_items(&mut self, code: u8) -> Result<(), String> {
        let items = if code == b's' {
            let (value, key) = (self.pop()?, self.pop()?);
            vec![key, value]
        } else {
            self.since_mark()?
        };
        let dict = self.top()?;
        match &mut self.values[dict] {
            Pickled::Dict(dict) if items.len() % 2 == 0 => dict.extend(items.chunks_exact(2).map(|p| (p[0], p[1]))),
            _ => return Err(contradictory()),
        }
        Ok(())
    }

    /// The value of a name; every name that tensors do not need is refused.
    fn name(&mut self, module: &str, name: &str) -> Result<(), String> {
        let known = match (module, name) {
            ("collections", "OrderedDict") => PickledName::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => PickledName::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => PickledName::RebuildParameter,
            ("torch", storage) if ElementType::of_storage(storage).is_some() => {
                PickledName::StorageOf(ElementType::of_storage(storage).ok_or_else(contradictory)?)
            }
            (class, _) if self.script && class.starts_with("__torch__") => PickledName::ScriptClass,
            ("torch.jit._pickle", _) if self.script => PickledName::ScriptFunction,
            _ => {
                let name: String = format!("{module}.{name}").chars().take(100).collect();
                return Err(format!("it holds more than tensors: it names {name:?}, which Python would import"));
            }
        };
        self.push(Pickled::Name(known))
    }

    fn storage(&mut self) -> Result<(), String> {
        let parts = self.pop()?;
        let Pickled::Tuple(parts) = &self.values[parts] else { return Err(contradictory()) };
        let parts: Vec<&Pickled> = parts.iter().map(|&place| &self.values[place]).collect();
        let storage = match parts[..] {
            [
                Pickled::Text(kind),
                Pickled::Name(PickledName::StorageOf(element)),
                Pickled::Text(key),
                Pickled::Text(_),
                Pickled::Int(count),
            ] if kind == "storage" && key.len() <= LONGEST_KEY => {
                let count = usize::try_from(*count).map_err(|_| contradictory())?;
                Storage { element: *element, key: key.clone(), count }
            }
            _ => return Err("it refers to something else than a storage of values".into()),
        };
        self.push(Pickled::Storage(storage))
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Pickled::Tuple(arguments) = &self.values[arguments] else { return Err(contradictory()) };
        let made = match self.values[function] {
            Pickled::Name(PickledName::OrderedDict) => self.ordered_dict(arguments)?,
            Pickled::Name(PickledName::RebuildTensor) => self.tensor(arguments)?,
            Pickled::Name(PickledName::RebuildParameter) => {
                let first = *arguments.first().ok_or_else(contradictory)?;
                if !matches!(self.values[first], Pickled::Tensor(_)) {
                    return Err(contradictory());
                }
                self.stack.push(first);
                return Ok(());
            }
            Pickled::Name(PickledName::ScriptFunction) => Pickled::Other,
            _ => return Err("it calls what is not a function of tensors".into()),
        };
        self.push(made)
    }

    /// A new dictionary; Python 2 wrote its pairs, if it had none, as an empty list.
    fn ordered_dict(&self, arguments: &[ValueId]) -> Result<Pickled, String> {
        let empty = match arguments {
            [] => true,
            [only] => matches!(&self.values[*only], Pickled::List(pairs) if pairs.is_empty()),
            _ => false,
        };
        if empty { Ok(Pickled::Dict(Vec::new())) } else { Err(contradictory()) }
    }

    /// Arguments: storage, offset, shape, strides, and what training needs.
    fn tensor(&self, arguments: &[ValueId]) -> Result<Pickled, String> {
        let &[storage, offset, shape, strides, ..] = arguments else { return Err(contradictory()) };
        let Pickled::Storage(storage) = &self.values[storage] else { return Err(contradictory()) };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(contradictory());
        }
        Ok(Pickled::Tensor(PickledTensor { storage: storage.clone(), offset: self.size(offset)?, shape, strides }))
    }

    fn sizes(&self, place: ValueId) -> Result<Vec<usize>, String> {
        match &self.values[place] {
            Pickled::Tuple(items) if items.len() <= MOST_DIMENSIONS => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => Err(contradictory()),
        }
    }

    fn size(&self, place: ValueId) -> Result<usize, String> {
        match self.values[place] {
            Pickled::Int(size) => usize::try_from(size).map_err(|_| "a tensor in it has a negative size".into()),
            _ => Err(contradictory()),
        }
    }

    fn new_object(&mut self) -> Result<(), String> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        match (&self.values[class], &self.values[arguments]) {
            (Pickled::Name(PickledName::ScriptClass), Pickled::Tuple(_)) => self.push(Pickled::Object(None)),
            _ => Err("it makes an object that is no module".into()),
        }
    }

    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let target = self.top()?;
        match &mut self.values[target] {
            Pickled::Object(attributes) => *attributes = Some(state),
            // What a state dict knows about itself, such as versions of modules.
            Pickled::Dict(_) => {}
            _ => return Err(contradictory()),
        }
        Ok(())
    }
}

fn cut_short() -> String {
    "it ends in the middle".into()
}

fn contradictory() -> String {
    "its parts contradict one another".into()
}

fn too_large() -> String {
    format!("it has more than {MOST_VALUES} values")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(bytes: &[u8]) -> String {
        unpickle(bytes, false).unwrap_err()
    }

    #[test]
    fn commands_are_named_and_refused() {
        // What `pickle.dumps` makes of an object whose `__reduce__` is (os.system, ("id",)).
        let system = b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.";
        assert!(refused(system).contains("\"posix.system\""));
        let stacked = b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x94\x8c\x011\x94\x85\x94R\x94.";
        assert!(refused(stacked).contains("\"builtins.eval\""));
        assert!(refused(b"\x80\x02c__torch__.os\nsystem\n.").contains("__torch__"), "not in a state dict");
        assert!(refused(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.").contains("no module"));
    }

    #[test]
    fn values_are_read_as_python_writes_them() {
        // {"a": (1, -1, 65535, -70000, 2**40, True, None, 1.5)} in protocol 2.
        let bytes = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01(K\x01J\xff\xff\xff\xffM\xff\xffJ\x90\xee\xfe\xff\
            \x8a\x06\x00\x00\x00\x00\x00\x01\x88NG\x3f\xf8\x00\x00\x00\x00\x00\x00tq\x02s.";
        let all = unpickle(bytes, false).unwrap();
        let Pickled::Dict(pairs) = all.root() else { panic!("{:?}", all.root()) };
        assert_eq!(all.get(pairs[0].0), &Pickled::Text("a".into()));
        let Pickled::Tuple(items) = all.get(pairs[0].1) else { panic!() };
        let items: Vec<Pickled> = items.iter().map(|&item| all.get(item).clone()).collect();
        let ints = [1, -1, 65535, -70000, 1 << 40].map(Pickled::Int);
        assert_eq!(items[..5], ints);
        assert_eq!(items[5..], [Pickled::Bool(true), Pickled::None, Pickled::Float(1.5)]);
    }

    #[test]
    fn a_value_that_contains_itself_is_none_of_its_business() {
        assert!(
            matches!(unpickle(b"\x80\x02]q\x00h\x00a.", false).unwrap().root(), Pickled::List(items) if items.len() == 1)
        );
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"\x80\x02}",
            b".",
            b"a.",
            b"(.",
            b"t.",
            b"}K\x01s.",
            b"(K\x01u.",
            b"h\x00.",
            b"Q.",
            b"R.",
            b"X\xff\xff\xff\xffa",
            b"}(K\x01K\x02K\x03u.",
            b"\x8a\x09123456789.",
            b"K\x01(\x85.",
            b"cno newline",
        ] {
            assert!(!refused(bytes).is_empty(), "{bytes:?}");
        }
        assert!(refused(&[b"N".repeat(MOST_VALUES + 1), b".".to_vec()].concat()).contains("more than"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(codes in proptest::collection::vec(
            prop_oneof![
                any::<u8>(),
                proptest::sample::select(b"}])N(tq\x00hX\x85\x86\x87Rb\x81QusaeK.".to_vec()),
            ], 0..64), script in any::<bool>()) {
            let _ = unpickle(&codes, script);
        }
    }
}
