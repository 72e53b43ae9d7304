//! Choosing among values by what is in them: `age>=18,address.city==Berlin`.
//!
//! A comparison is typed: numbers compare with numbers, texts with texts, and a value of another type is neither less
//! nor greater nor equal. So a filter never depends on how somebody's parser turns one type into another.

use std::cmp::Ordering;
use std::str::FromStr;

use rejoin_replica::json::Json;

use crate::member::{Cursor, Member, SyntaxError};

/// Terms of one filter, and values in one list. 64: more is a program, and belongs into one.
const TERMS_MAX: usize = 64;

/// What values have to be like; all terms must hold. docs/queries.md has the syntax.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    member: Member,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Present,
    Absent,
    Equal(Literal),
    NotEqual(Literal),
    /// The member compares with the literal as one of these says.
    Ordered(Literal, &'static [Ordering]),
    In(Vec<Literal>),
    BeginsWith(String),
}

/// A scalar, from a filter or from a value.
#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Null,
    Boolean(bool),
    Integer(i128),
    Number(f64),
    Text(String),
}

impl Literal {
    /// The scalar that a JSON text is; `None` for objects and arrays.
    fn of_json(text: &str) -> Option<Literal> {
        Some(match text.as_bytes().first()? {
            b'n' => Literal::Null,
            b't' => Literal::Boolean(true),
            b'f' => Literal::Boolean(false),
            b'"' => Literal::Text(serde_json::from_str(text).ok()?),
            b'{' | b'[' => return None,
            _ => Literal::of_number(text)?,
        })
    }

    fn of_number(text: &str) -> Option<Literal> {
        match text.parse::<i128>() {
            Ok(integer) => Some(Literal::Integer(integer)),
            Err(_) => text.parse().ok().map(Literal::Number),
        }
    }

    /// How two scalars of one type compare; `None` when their types differ, or have no order.
    fn compare(&self, other: &Literal) -> Option<Ordering> {
        match (self, other) {
            (Literal::Integer(ours), Literal::Integer(theirs)) => Some(ours.cmp(theirs)),
            (Literal::Text(ours), Literal::Text(theirs)) => Some(ours.cmp(theirs)),
            _ => self.as_float()?.partial_cmp(&other.as_float()?),
        }
    }

    fn as_float(&self) -> Option<f64> {
        match self {
            Literal::Integer(integer) => Some(*integer as f64),
            Literal::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn equals(&self, other: &Literal) -> bool {
        match (self, other) {
            (Literal::Null, Literal::Null) => true,
            (Literal::Boolean(ours), Literal::Boolean(theirs)) => ours == theirs,
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Says where and why it is not one.
    pub fn parse(text: &str) -> Result<Filter, SyntaxError> {
        let mut from = Cursor::new(text);
        let mut terms = Vec::new();
        loop {
            if terms.len() == TERMS_MAX {
                return Err(from.error(format!("a filter has at most {TERMS_MAX} terms")));
            }
            terms.push(term(&mut from)?);
            from.skip_space();
            if from.is_at_end() {
                return Ok(Filter { terms });
            }
            if !from.eat(",") {
                return Err(from.error("a comma, or an operator (==, !=, <, <=, >, >=, ^=, in), is expected"));
            }
        }
    }

    /// Whether a value is wanted.
    pub fn matches(&self, value: &Json) -> bool {
        self.terms.iter().all(|term| term.holds(value.as_str()))
    }
}

impl FromStr for Filter {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Filter, SyntaxError> {
        Filter::parse(text)
    }
}

impl Term {
    fn holds(&self, value: &str) -> bool {
        let found = self.member.of(value);
        let scalar = || found.and_then(Literal::of_json);
        match &self.test {
            Test::Present => found.is_some(),
            Test::Absent => found.is_none(),
            Test::Equal(wanted) => scalar().is_some_and(|found| found.equals(wanted)),
            Test::NotEqual(other) => !scalar().is_some_and(|found| found.equals(other)),
            Test::Ordered(bound, allowed) => {
                let order = scalar().and_then(|found| found.compare(bound));
                order.is_some_and(|order| allowed.contains(&order))
            }
            Test::In(list) => scalar().is_some_and(|found| list.iter().any(|wanted| found.equals(wanted))),
            Test::BeginsWith(prefix) => match scalar() {
                Some(Literal::Text(text)) => text.starts_with(prefix),
                _ => false,
            },
        }
    }
}

fn term(from: &mut Cursor<'_>) -> Result<Term, SyntaxError> {
    from.skip_space();
    if from.eat("!") {
        return Ok(Term { member: from.member()?, test: Test::Absent });
    }
    let member = from.member()?;
    from.skip_space();
    let test = if from.eat("==") {
        Test::Equal(literal(from)?)
    } else if from.eat("!=") {
        Test::NotEqual(literal(from)?)
    } else if from.eat("<=") {
        ordered(from, &[Ordering::Less, Ordering::Equal])?
    } else if from.eat(">=") {
        ordered(from, &[Ordering::Greater, Ordering::Equal])?
    } else if from.eat("<") {
        ordered(from, &[Ordering::Less])?
    } else if from.eat(">") {
        ordered(from, &[Ordering::Greater])?
    } else if from.eat("^=") {
        prefix(from)?
    } else if from.eat("=") {
        Test::Equal(literal(from)?)
    } else if from.rest().strip_prefix("in").is_some_and(|rest| rest.trim_start().starts_with('(')) {
        from.eat("in");
        list(from)?
    } else {
        Test::Present
    };
    Ok(Term { member, test })
}

fn ordered(from: &mut Cursor<'_>, allowed: &'static [Ordering]) -> Result<Test, SyntaxError> {
    from.skip_space();
    let refused = from.error("only numbers and texts have an order; compare this with == or !=");
    match literal(from)? {
        Literal::Null | Literal::Boolean(_) => Err(refused),
        bound => Ok(Test::Ordered(bound, allowed)),
    }
}

fn prefix(from: &mut Cursor<'_>) -> Result<Test, SyntaxError> {
    from.skip_space();
    if from.rest().starts_with('"') {
        return from.quoted().map(Test::BeginsWith);
    }
    // Texts only, so what looks like a number is the beginning of a text.
    match bare(from)? {
        "" => Err(from.error("a text is missing behind `^=`")),
        text => Ok(Test::BeginsWith(text.to_owned())),
    }
}

fn list(from: &mut Cursor<'_>) -> Result<Test, SyntaxError> {
    from.skip_space();
    from.eat("(");
    let mut values = Vec::new();
    loop {
        if values.len() == TERMS_MAX {
            return Err(from.error(format!("a list has at most {TERMS_MAX} values")));
        }
        values.push(literal(from)?);
        from.skip_space();
        if from.eat(")") {
            return Ok(Test::In(values));
        }
        if !from.eat(",") {
            return Err(from.error("the list needs a comma or its closing parenthesis"));
        }
    }
}

fn literal(from: &mut Cursor<'_>) -> Result<Literal, SyntaxError> {
    from.skip_space();
    if from.rest().starts_with('"') {
        return from.quoted().map(Literal::Text);
    }
    Ok(match bare(from)? {
        "" => return Err(from.error("a value is missing; the empty text is `\"\"`")),
        "null" => Literal::Null,
        "true" => Literal::Boolean(true),
        "false" => Literal::Boolean(false),
        // Only what JSON calls a number is one: `007`, `inf` and `+1` are texts.
        text => match serde_json::from_str::<serde_json::Number>(text) {
            Ok(_) => Literal::of_number(text).unwrap_or_else(|| Literal::Text(text.to_owned())),
            Err(_) => Literal::Text(text.to_owned()),
        },
    })
}

/// A value without quotes: up to a comma or parenthesis.
fn bare<'a>(from: &mut Cursor<'a>) -> Result<&'a str, SyntaxError> {
    let text = from.take_until(|end| ",()\"=<>".contains(end));
    match from.rest().chars().next() {
        Some(end @ ('"' | '=' | '<' | '>' | '(')) => {
            Err(from.error(format!("a value with `{end}` in it has to be in double quotes")))
        }
        _ => Ok(text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = r#"{"name":"Alice","age":41,"big":9007199254740993,"height":1.7e0,"email":null,
        "address":{"city":"Berlin","geo":[52.5,13.4]},"tags":["a","b,c"],"a.b":{"c":1},"admin":true,"\u0065sc":"\u0041"}"#;

    fn matches(filter: &str) -> bool {
        let value = Json::parse(ALICE.as_bytes(), &rejoin_replica::json::JsonLimits::default()).unwrap();
        Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).matches(&value)
    }

    #[test]
    fn terms_that_hold() {
        for filter in [
            "name==Alice",
            "name=Alice",
            "name == \"Alice\"",
            "name!=Bob",
            "nothing!=Bob",
            "age!=\"41\"",
            "age==41",
            "age==41.0",
            "age>=41",
            "age<=41",
            "age>40.5",
            "age<42",
            "height>1",
            "height==1.7",
            "big==9007199254740993",
            "big>9007199254740992",
            "big!=9007199254740992",
            "email",
            "email==null",
            "!nothing",
            "admin==true",
            "admin!=false",
            "!address.zip",
            "address",
            "address.city^=Ber",
            "address.geo.1>13",
            "tags.1==\"b,c\"",
            "\"a.b\".c==1",
            "esc==A",
            "name in (Bob,Alice)",
            "age in(41, 42)",
            "name>Ali",
            "name<Bob",
            "name^=\"\"",
            "age>=18,address.city==Berlin",
            " age >= 18 , name == Alice ",
            "!tags.2",
            "inn!=1",
            ".!=3",
        ] {
            assert!(matches(filter), "{filter}");
        }
    }

    #[test]
    fn terms_that_do_not_hold() {
        for filter in [
            "name==alice",
            "age==\"41\"",
            "age>\"4\"",
            "name>4",
            "name<4",
            "email!=null",
            "!email",
            "nothing",
            "nothing==null",
            "address==Berlin",
            "address>1",
            "big==9007199254740992",
            "admin==\"true\"",
            "name in (Bob)",
            "age^=4",
            "age in (\"41\")",
            "age>=18,age<=20",
            "tags==a",
            "name.0==A",
            "nothing>0",
        ] {
            assert!(!matches(filter), "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for (filter, position) in [
            ("", 1),
            ("age>=", 6),
            ("age>=18,", 9),
            (",age", 1),
            ("==3", 1),
            ("a..b", 3),
            ("a===b", 4),
            ("a==\"b", 4),
            ("a in (b", 8),
            ("a in ()", 7),
            ("a>true", 3),
            ("é>null", 3),
            ("a b", 3),
            ("a==x\"y", 5),
            ("a^=", 4),
            ("a.\"b\"c", 6),
            ("a!", 2),
            ("(a==1)", 1),
        ] {
            match Filter::parse(filter) {
                Err(error) => assert_eq!(error.position, position, "{filter}: {error}"),
                Ok(read) => panic!("{filter} is read as {read:?}"),
            }
        }
        assert!(Filter::parse(&vec!["a"; TERMS_MAX].join(",")).is_ok());
        assert!(Filter::parse(&vec!["a"; TERMS_MAX + 1].join(",")).is_err());
        assert!(Filter::parse(&vec!["a"; 129].join(".")).is_err());
    }

    #[test]
    fn scalars_are_values_too() {
        let five = Json::parse(b"5", &rejoin_replica::json::JsonLimits::default()).unwrap();
        assert!(Filter::parse(".>4").unwrap().matches(&five));
        assert!(!Filter::parse("age>4").unwrap().matches(&five));
        assert!(Filter::parse("age!=4").unwrap().matches(&five));
    }
}
