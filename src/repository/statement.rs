//! Statements: a text with numbered places (`$1`, `$2`, …) that both databases read, and the values for them.

use std::borrow::Cow;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, FromRow};

use super::StoreError;
use super::database::Connection;

/// What a row is read into: a struct that derives [`FromRow`], or a tuple.
pub(super) trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Record for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// A value for a place of a statement. Each kind has its own null, because PostgreSQL asks for the type of a null, too.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Integer(Option<i64>),
    Bool(bool),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! value_from {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}

value_from! {
    i64 => |value| Self::Integer(Some(value));
    Option<i64> => |value| Self::Integer(value);
    bool => |value| Self::Bool(value);
    &str => |value| Self::Text(Some(value.to_owned()));
    &String => |value| Self::Text(Some(value.clone()));
    String => |value| Self::Text(Some(value));
    Cow<'_, str> => |value| Self::Text(Some(value.into_owned()));
    Option<String> => |value| Self::Text(value);
    Vec<u8> => |value| Self::Bytes(Some(value));
    Option<Vec<u8>> => |value| Self::Bytes(value);
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    text: Cow<'static, str>,
    /// What PostgreSQL gets instead of `text`.
    postgres: Option<&'static str>,
    values: Vec<Value>,
}

/// A statement that begins with `text`.
pub(super) fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement {
        text: text.into(),
        postgres: None,
        values: Vec::new(),
    }
}

impl Statement {
    /// Says the same in the words of PostgreSQL, where the dialects differ.
    pub(super) fn on_postgres(mut self, text: &'static str) -> Self {
        self.postgres = Some(text);
        self
    }

    /// Gives the next place of the text its value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds to the text.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Adds a place to the text, with its value.
    pub(super) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let place = self.values.len();
        self.push("$").push(&place.to_string())
    }

    /// Adds places to the text, with commas between them, each with its value.
    pub(super) fn push_values(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self
    }

    /// All rows. A statement runs once: its text and values are gone afterwards.
    pub(super) async fn fetch_all<R: Record>(
        &mut self,
        on: &mut Connection,
    ) -> Result<Vec<R>, StoreError> {
        let text = self.take_text(on).await;
        match on {
            Connection::Sqlite(link) => {
                let query = sqlx::query_as_with(text, self.sqlite_arguments()?);
                Ok(query.fetch_all(&mut **link).await?)
            }
            Connection::SqliteTransaction(link) => {
                let query = sqlx::query_as_with(text, self.sqlite_arguments()?);
                Ok(query.fetch_all(&mut **link).await?)
            }
            Connection::Postgres(link) => {
                let query = sqlx::query_as_with(text, self.postgres_arguments()?);
                let answer = tokio::time::timeout(link.patience(), query.fetch_all(link.get()));
                let answer = answer.await;
                link.settle(answer)
            }
        }
    }

    /// The first row, if there is one.
    pub(super) async fn fetch_optional<R: Record>(
        &mut self,
        on: &mut Connection,
    ) -> Result<Option<R>, StoreError> {
        let text = self.take_text(on).await;
        match on {
            Connection::Sqlite(link) => {
                let query = sqlx::query_as_with(text, self.sqlite_arguments()?);
                Ok(query.fetch_optional(&mut **link).await?)
            }
            Connection::SqliteTransaction(link) => {
                let query = sqlx::query_as_with(text, self.sqlite_arguments()?);
                Ok(query.fetch_optional(&mut **link).await?)
            }
            Connection::Postgres(link) => {
                let query = sqlx::query_as_with(text, self.postgres_arguments()?);
                let answer =
                    tokio::time::timeout(link.patience(), query.fetch_optional(link.get()));
                let answer = answer.await;
                link.settle(answer)
            }
        }
    }

    /// The only row of a statement that always has one.
    pub(super) async fn fetch_one<R: Record>(
        &mut self,
        on: &mut Connection,
    ) -> Result<R, StoreError> {
        self.fetch_optional(on)
            .await?
            .ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// The only column of all rows.
    pub(super) async fn fetch_values<T>(
        &mut self,
        on: &mut Connection,
    ) -> Result<Vec<T>, StoreError>
    where
        (T,): Record,
    {
        let rows: Vec<(T,)> = self.fetch_all(on).await?;
        Ok(rows.into_iter().map(|(value,)| value).collect())
    }

    /// The only column of the first row, if there is one.
    pub(super) async fn fetch_optional_value<T>(
        &mut self,
        on: &mut Connection,
    ) -> Result<Option<T>, StoreError>
    where
        (T,): Record,
    {
        let row: Option<(T,)> = self.fetch_optional(on).await?;
        Ok(row.map(|(value,)| value))
    }

    /// The only column of the only row of a statement that always has one.
    pub(super) async fn fetch_value<T>(&mut self, on: &mut Connection) -> Result<T, StoreError>
    where
        (T,): Record,
    {
        let (value,) = self.fetch_one(on).await?;
        Ok(value)
    }

    /// Runs a statement without rows; how many it concerned.
    pub(super) async fn execute(&mut self, on: &mut Connection) -> Result<u64, StoreError> {
        let text = self.take_text(on).await;
        match on {
            Connection::Sqlite(link) => {
                let query = sqlx::query_with(text, self.sqlite_arguments()?);
                Ok(query.execute(&mut **link).await?.rows_affected())
            }
            Connection::SqliteTransaction(link) => {
                let query = sqlx::query_with(text, self.sqlite_arguments()?);
                Ok(query.execute(&mut **link).await?.rows_affected())
            }
            Connection::Postgres(link) => {
                let query = sqlx::query_with(text, self.postgres_arguments()?);
                let answer = tokio::time::timeout(link.patience(), query.execute(link.get()));
                let answer = answer.await;
                Ok(link.settle(answer)?.rows_affected())
            }
        }
    }

    /// The text for the database that it runs on. Every part of it is written in this room; values come as values.
    async fn take_text(&mut self, on: &mut Connection) -> AssertSqlSafe<Cow<'static, str>> {
        #[cfg(test)]
        super::tests::plans::check(&self.text, on).await;
        let text = std::mem::take(&mut self.text);
        AssertSqlSafe(match (on, self.postgres) {
            (Connection::Postgres(_), Some(postgres)) => Cow::Borrowed(postgres),
            _ => text,
        })
    }

    fn sqlite_arguments(&mut self) -> Result<SqliteArguments, StoreError> {
        let mut arguments = SqliteArguments::default();
        for value in self.values.drain(..) {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }

    fn postgres_arguments(&mut self) -> Result<PgArguments, StoreError> {
        let mut arguments = PgArguments::default();
        for value in self.values.drain(..) {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Bool(value) => arguments.add(value),
                // PostgreSQL takes no NUL in a text. What callers may store has none, so that such a text can only be asked
                // for; it is not there.
                Value::Text(Some(value)) if value.contains('\0') => {
                    arguments.add(value.replace('\0', "\u{fffd}"))
                }
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}
