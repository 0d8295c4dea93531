//! The statements on licenses.

use platform::{
    db::{self, Transaction},
    domain::{
        self, LicenseId, LicenseKey, LicenseStatus, Policy, SeatUnit, SignedDocument, TenantId, TenantStatus, Tier, Timestamp,
        rfc3339_millis, rfc3339_millis_option,
    },
};
use serde::Serialize;
use std::time::Duration;
use tokio_postgres::Row;
use utoipa::ToSchema;

use crate::{
    page::Page,
    read::{id, number, whole, word},
};

/// A license: what a tenant has bought.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub(crate) struct License {
    #[schema(value_type = String, example = "lic_p3e9rj36jx0ab04ynd6vc32qg4")]
    pub(super) id: LicenseId,
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) tenant_id: TenantId,
    /// What people call it.
    pub(super) name: String,
    /// The end of its key, by which people tell it from others.
    #[schema(example = "D29K")]
    pub(super) key_last_four: String,
    pub(super) tier: Tier,
    /// Of the license alone: it is not served either while its tenant is suspended.
    pub(super) status: LicenseStatus,
    pub(super) seats_total: u32,
    /// Extra seats that may be used, and are flagged.
    pub(super) overage: u32,
    /// How long a session lives without a heartbeat.
    pub(super) session_ttl_seconds: u32,
    pub(super) seat_unit: SeatUnit,
    /// Whether only those get a seat who come with a bearer token, each under its own address.
    pub(super) requires_token: bool,
    /// When it begins; null if it always has.
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) starts_at: Option<Timestamp>,
    /// When it is over; null if never.
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
    /// What the customer's program may unlock.
    pub(super) features: Vec<String>,
    /// Grows with every change of it or of its tenant's status.
    pub(super) version: i64,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Timestamp,
}

impl License {
    /// As its document tells of it, which is silent on how its tenant stands.
    pub(super) fn with_document(&self, document: Option<SignedDocument>) -> domain::License {
        domain::License {
            id: self.id,
            tenant: self.tenant_id,
            version: self.version,
            key_last_four: self.key_last_four.clone(),
            tier: self.tier,
            status: self.status,
            tenant_status: TenantStatus::Active,
            policy: Policy {
                seats_total: self.seats_total,
                overage: self.overage,
                session_ttl: Duration::from_secs(u64::from(self.session_ttl_seconds)),
                seat_unit: self.seat_unit,
                starts_at: self.starts_at,
                expires_at: self.expires_at,
                features: self.features.clone(),
            },
            requires_token: self.requires_token,
            document,
        }
    }
}

/// A license's document as the root has signed it.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) jws: String,
    pub(super) kid: String,
}

pub(super) fn license(row: &Row) -> Result<License, db::Error> {
    Ok(License {
        id: id(row, "id", LicenseId::from_uuid)?,
        tenant_id: id(row, "tenant_id", TenantId::from_uuid)?,
        name: row.try_get("name")?,
        key_last_four: row.try_get("key_last_four")?,
        tier: word(row, "tier")?,
        status: word(row, "status")?,
        seats_total: whole(row, "seats_total")?,
        overage: whole(row, "overage")?,
        session_ttl_seconds: whole(row, "session_ttl_seconds")?,
        seat_unit: word(row, "seat_unit")?,
        requires_token: row.try_get("requires_token")?,
        starts_at: row.try_get("starts_at")?,
        expires_at: row.try_get("expires_at")?,
        features: row.try_get("features")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

const LIST: &str = "-- licenses::list
SELECT id, tenant_id, name, key_last_four, tier, status, seats_total, overage, session_ttl_seconds, seat_unit, requires_token,
       starts_at, expires_at, features, version, created_at, updated_at FROM licenses
WHERE tenant_id = $7 AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
  AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR key_last_four = $5) AND ($6::timestamptz IS NULL OR expires_at < $6)
ORDER BY created_at DESC, id DESC LIMIT $3";

// A document that was signed for an older version is not shown: the next one is on its way.
const FIND: &str = "-- licenses::find
SELECT id, tenant_id, name, key_last_four, tier, status, seats_total, overage, session_ttl_seconds, seat_unit, requires_token,
       starts_at, expires_at, features, version, created_at, updated_at,
       CASE WHEN signed_version = version THEN signed_document END AS signed_document FROM licenses WHERE id = $1";

const LOCK: &str = "-- licenses::lock
SELECT id, tenant_id, name, key_last_four, tier, status, seats_total, overage, session_ttl_seconds, seat_unit, requires_token,
       starts_at, expires_at, features, version, created_at, updated_at,
       CASE WHEN signed_version = version THEN signed_document END AS signed_document FROM licenses WHERE id = $1 FOR NO KEY UPDATE";

const INSERT: &str = "-- licenses::insert
INSERT INTO licenses (id, tenant_id, name, key_hash, key_last_four, tier, seats_total, overage, session_ttl_seconds, seat_unit, requires_token,
                      starts_at, expires_at, features, created_at, updated_at, signed_document, signed_by, signed_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16, $17, CASE WHEN $16::text IS NOT NULL THEN 1 END)";

const UPDATE: &str = "-- licenses::update
UPDATE licenses SET name = $2, key_hash = coalesce($3, key_hash), key_last_four = $4, tier = $5, status = $6, seats_total = $7, overage = $8,
    session_ttl_seconds = $9, seat_unit = $10, requires_token = $11, starts_at = $12, expires_at = $13, features = $14,
    version = version + 1, updated_at = $15, signed_document = coalesce($16, signed_document), signed_by = coalesce($17, signed_by),
    signed_version = CASE WHEN $16::text IS NULL THEN signed_version ELSE version + 1 END
WHERE id = $1";

const ROOM: &str = "-- licenses::room
SELECT t.tier, t.seat_limit - (SELECT coalesce(sum(l.seats_total), 0) FROM licenses l
                               WHERE l.tenant_id = $1 AND l.status <> 'revoked' AND l.id IS DISTINCT FROM $2::uuid) AS room
FROM tenants t WHERE t.id = $1";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, FIND, LOCK, INSERT, UPDATE, ROOM];

/// Which licenses are wanted.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) tenant: TenantId,
    pub(super) status: Option<LicenseStatus>,
    pub(super) key_last_four: Option<String>,
    pub(super) expires_before: Option<Timestamp>,
}

pub(super) async fn list(transaction: &Transaction, page: &Page, filter: &Filter) -> Result<Vec<Row>, db::Error> {
    let (at, id, rows, status) = (page.at(), page.id(), page.rows(), filter.status.map(LicenseStatus::as_str));
    let tenant = filter.tenant.as_uuid();
    transaction.query(LIST, &[&at, &id, &rows, &status, &filter.key_last_four, &filter.expires_before, &tenant]).await
}

/// A license, and its document if it is signed as the license is now.
pub(super) async fn find(transaction: &Transaction, id: LicenseId) -> Result<Option<(License, Option<SignedDocument>)>, db::Error> {
    transaction.first(FIND, &[&id.as_uuid()]).await?.as_ref().map(with_document).transpose()
}

/// The same, and nobody else changes it until the transaction's end.
pub(super) async fn lock(transaction: &Transaction, id: LicenseId) -> Result<Option<(License, Option<SignedDocument>)>, db::Error> {
    transaction.first(LOCK, &[&id.as_uuid()]).await?.as_ref().map(with_document).transpose()
}

fn with_document(row: &Row) -> Result<(License, Option<SignedDocument>), db::Error> {
    let document: Option<String> = row.try_get("signed_document")?;
    let read = |jws| SignedDocument::read(jws).ok_or_else(|| db::Error::Record("signed_document is no JWS".to_owned()));
    Ok((license(row)?, document.map(read).transpose()?))
}

pub(super) async fn insert(
    transaction: &Transaction,
    new: &License,
    key: &LicenseKey,
    signature: Option<&Signature>,
) -> Result<(), db::Error> {
    let (jws, kid) = (signature.map(|signature| &signature.jws), signature.map(|signature| &signature.kid));
    transaction
        .query(
            INSERT,
            &[
                &new.id.as_uuid(),
                &new.tenant_id.as_uuid(),
                &new.name,
                &&key.hash().as_bytes()[..],
                &new.key_last_four,
                &new.tier.as_str(),
                &number(new.seats_total)?,
                &number(new.overage)?,
                &number(new.session_ttl_seconds)?,
                &new.seat_unit.as_str(),
                &new.requires_token,
                &new.starts_at,
                &new.expires_at,
                &new.features,
                &new.created_at,
                &jws,
                &kid,
            ],
        )
        .await
        .map(drop)
}

/// Writes a locked license as it is to be, with a new key if there is one; its version grows.
pub(super) async fn update(
    transaction: &Transaction,
    wanted: &License,
    key: Option<&LicenseKey>,
    signature: Option<&Signature>,
) -> Result<(), db::Error> {
    let hash = key.map(LicenseKey::hash);
    let (jws, kid) = (signature.map(|signature| &signature.jws), signature.map(|signature| &signature.kid));
    transaction
        .query(
            UPDATE,
            &[
                &wanted.id.as_uuid(),
                &wanted.name,
                &hash.as_ref().map(|hash| &hash.as_bytes()[..]),
                &wanted.key_last_four,
                &wanted.tier.as_str(),
                &wanted.status.as_str(),
                &number(wanted.seats_total)?,
                &number(wanted.overage)?,
                &number(wanted.session_ttl_seconds)?,
                &wanted.seat_unit.as_str(),
                &wanted.requires_token,
                &wanted.starts_at,
                &wanted.expires_at,
                &wanted.features,
                &wanted.updated_at,
                &jws,
                &kid,
            ],
        )
        .await
        .map(drop)
}

/// The tenant's tier, and the seats that its licenses may still have, this one left aside. The tenant is locked.
pub(super) async fn room(transaction: &Transaction, tenant: TenantId, aside: Option<LicenseId>) -> Result<(Tier, i64), db::Error> {
    let row = transaction.first(ROOM, &[&tenant.as_uuid(), &aside.map(LicenseId::as_uuid)]).await?;
    let row = row.ok_or_else(|| db::Error::Record("a locked tenant is not there".to_owned()))?;
    Ok((word(&row, "tier")?, row.try_get("room")?))
}
