//! Verification: from the pinned root down to the lease, with no network and no clock but the caller's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Certificate, Explanation, LeaseClaims, LicenseClaims, Rejected, RevocationList, RootKey,
    checks::Trail,
    hardware_sha256, json,
    jws::{self, Jws},
    keys::LeafKey,
};

/// How far two clocks may differ if nothing else was said.
const DEFAULT_SKEW: Duration = Duration::from_secs(60);

/// Published certificates that are looked at; each costs an RSA verification. The platform has two or three at a time.
const MAX_CERTIFICATES: usize = 32;

/// The one thing a leaf may be certified for.
const USE_LEASE: &str = "lease";

const LICENSE: Kind = Kind { name: "license", typ: "coditect-license+jwt" };
const CERTIFICATE: Kind = Kind { name: "certificate", typ: "coditect-certificate+jwt" };
const REVOCATIONS: Kind = Kind { name: "revocation list", typ: "coditect-revocations+jwt" };
const LEASE: Kind = Kind { name: "lease", typ: "coditect-lease+jwt" };

/// A kind of token: what to call it, and the `typ` that keeps it apart from the others.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    typ: &'static str,
}

/// What the caller knows and the token must say as well. What is `None` is not compared.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expected {
    /// Whose license it is.
    pub tenant_id: Option<String>,
    /// Which license.
    pub license_id: Option<String>,
    /// The earliest version that a license document may have: what the lease beside it names, and no earlier one than was seen
    /// before (documents only).
    pub license_version: Option<u64>,
    /// Which session (leases only).
    pub session_id: Option<String>,
    /// The id of this machine, not hashed (leases only).
    pub hardware_id: Option<String>,
    /// The nonce that was sent with the call (leases only). Without it, an old answer passes for as long as it has not expired.
    pub nonce: Option<String>,
}

/// What `GET /api/v1/keys` publishes besides the root, which nobody takes from there. It may come from anywhere: each part is verified.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PublishedKeys {
    /// The leaves' certificates.
    pub certificates: Vec<String>,
    /// The revocation list. Give the newest there is ([`Memory`](crate::Memory) keeps it): without one, no leaf counts as revoked.
    pub revocations: Option<String>,
}

/// Judges tokens by the roots that are pinned in it.
///
/// It never panics, never reads a clock, and lets no token choose how it is verified.
#[derive(Clone, Debug)]
pub struct Verifier {
    roots: Vec<RootKey>,
    skew: Duration,
}

impl Verifier {
    /// One that trusts these roots: one, or two while the root changes. With none it refuses everything.
    #[must_use]
    pub const fn new(roots: Vec<RootKey>) -> Self {
        Self { roots, skew: DEFAULT_SKEW }
    }

    /// Lets clocks differ by `skew`, both ways, instead of 60 seconds.
    #[must_use]
    pub fn with_skew(self, skew: Duration) -> Self {
        Self { skew, ..self }
    }

    /// How far clocks may differ.
    #[must_use]
    pub const fn skew(&self) -> Duration {
        self.skew
    }

    /// Verifies a license document (`license_data.signature`). Its times say what was sold, and are not judged: whether a seat may be
    /// held now is for the lease to say.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn license(&self, token: &str, expected: &Expected) -> Result<LicenseClaims, Rejected> {
        self.explain_license(token, expected).verdict
    }

    /// Verifies a leaf's certificate as of `now`.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn certificate(&self, token: &str, now: SystemTime) -> Result<Certificate, Rejected> {
        let mut trail = Trail::default();
        let (certificate, _) = self.open_certificate(token, &mut trail)?;
        for_leases(&certificate, &mut trail)?;
        self.certificate_holds(&certificate, now, &mut trail)?;
        Ok(certificate)
    }

    /// Verifies a revocation list. Keep the one with the highest version.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn revocations(&self, token: &str) -> Result<RevocationList, Rejected> {
        self.root_signed(token, REVOCATIONS, &mut Trail::default())
    }

    /// Verifies a lease as of `now`: from a pinned root, over the certificate among `published` that fits, to the lease.
    ///
    /// Certificates that do not verify are passed over. A revocation list that does not verify is not: the lease is refused.
    ///
    /// # Errors
    /// The first check that does not hold.
    pub fn lease(&self, token: &str, published: &PublishedKeys, expected: &Expected, now: SystemTime) -> Result<LeaseClaims, Rejected> {
        self.explain_lease(token, published, expected, now).verdict
    }

    /// Like [`license`](Self::license), telling every check.
    #[must_use]
    pub fn explain_license(&self, token: &str, expected: &Expected) -> Explanation<LicenseClaims> {
        let mut trail = Trail::default();
        let verdict = self.root_signed(token, LICENSE, &mut trail).and_then(|claims: LicenseClaims| {
            same(&mut trail, LICENSE, "tenant", expected.tenant_id.as_ref(), &claims.tenant_id, Rejected::WrongTenant)?;
            same(&mut trail, LICENSE, "license", expected.license_id.as_ref(), &claims.license_id, Rejected::WrongLicense)?;
            if let Some(least) = expected.license_version {
                let compared = format!("{} and at least {least}", claims.version);
                trail.check(LICENSE.name, "version", compared, claims.version >= least, Rejected::OldLicense)?;
            }
            Ok(claims)
        });
        trail.explain(verdict)
    }

    /// Like [`lease`](Self::lease), telling every check.
    #[must_use]
    pub fn explain_lease(&self, token: &str, published: &PublishedKeys, expected: &Expected, now: SystemTime) -> Explanation<LeaseClaims> {
        let mut trail = Trail::default();
        let Chain { jws, certified, revocations } = match self.chain(token, published, &mut trail) {
            Ok(chain) => chain,
            Err(rejected) => return trail.explain(Err(rejected)),
        };
        // A leaf may be certified more than once. One certificate that carries the lease is enough; if none does, the first tells why.
        let mut explanations = certified.iter().map(|Certified { certificate, key, checks }| {
            let mut trail = trail.followed_by(checks);
            let verdict = self
                .leaf_counts(certificate, revocations.as_ref(), now, &mut trail)
                .and_then(|()| self.lease_by(&jws, certificate, key, expected, now, &mut trail));
            trail.explain(verdict)
        });
        let Some(first) = explanations.next() else { return trail.explain(Err(Rejected::UnknownLeaf)) };
        if first.verdict.is_ok() {
            return first;
        }
        explanations.find(|other| other.verdict.is_ok()).unwrap_or(first)
    }

    /// Takes the lease apart and finds what vouches for its leaf: never no certificate.
    fn chain<'a>(&self, token: &'a str, published: &PublishedKeys, trail: &mut Trail) -> Result<Chain<'a>, Rejected> {
        let jws = open(token, LEASE, trail)?;
        let revocations = match &published.revocations {
            Some(list) => Some(
                self.root_signed::<RevocationList>(list, REVOCATIONS, trail)
                    .map_err(|rejected| Rejected::BadRevocationList(Box::new(rejected)))?,
            ),
            None => None,
        };
        let (mut certified, mut passed_over) = (Vec::new(), Vec::new());
        for certificate in published.certificates.iter().take(MAX_CERTIFICATES) {
            let mut checks = Trail::default();
            match self.open_certificate(certificate, &mut checks) {
                Ok((certificate, key)) if certificate.jwk.kid == jws.header.kid => certified.push(Certified { certificate, key, checks }),
                Ok((certificate, _)) => passed_over.push(format!("for {}", certificate.jwk.kid)),
                Err(rejected) => passed_over.push(rejected.code().to_owned()),
            }
        }
        let compared = format!("key {}; certificates for it: {}; others: [{}]", jws.header.kid, certified.len(), passed_over.join(", "));
        trail.check(CERTIFICATE.name, "is there for the lease's key", compared, !certified.is_empty(), Rejected::UnknownLeaf)?;
        Ok(Chain { jws, certified, revocations })
    }

    /// Whether a leaf may sign leases, as of now.
    fn leaf_counts(
        &self,
        certificate: &Certificate,
        revocations: Option<&RevocationList>,
        now: SystemTime,
        trail: &mut Trail,
    ) -> Result<(), Rejected> {
        for_leases(certificate, trail)?;
        if let Some(list) = revocations {
            let compared = format!("version {}, revoked: {}", list.version, list.revoked.len());
            let held = !list.names(&certificate.jwk.kid);
            trail.check(REVOCATIONS.name, "does not name the lease's key", compared, held, Rejected::LeafRevoked)?;
        }
        self.certificate_holds(certificate, now, trail)
    }

    /// Whether a leaf that counts made this lease, for this caller and for now.
    fn lease_by(
        &self,
        jws: &Jws<'_>,
        certificate: &Certificate,
        key: &LeafKey,
        expected: &Expected,
        now: SystemTime,
        trail: &mut Trail,
    ) -> Result<LeaseClaims, Rejected> {
        algorithm(jws, LEASE, LeafKey::ALGORITHM, trail)?;
        let held = key.signed(jws.signed, &jws.signature);
        trail.check(LEASE.name, "signature", format!("key {}", jws.header.kid), held, Rejected::BadSignature)?;
        let claims: LeaseClaims = claims(jws, LEASE, trail)?;

        let compared = format!("{} in [{}, {})", claims.iat, certificate.nbf, certificate.exp);
        let held = (certificate.nbf..certificate.exp).contains(&claims.iat);
        trail.check(LEASE.name, "made while the certificate held", compared, held, Rejected::IssuedOutsideCertificate)?;
        let compared = format!("{} and {}", claims.exp, certificate.exp);
        let held = claims.exp <= certificate.exp;
        trail.check(LEASE.name, "ends with the certificate or before", compared, held, Rejected::OutlivesCertificate)?;

        let hardware = expected.hardware_id.as_deref().map(hardware_sha256);
        same(trail, LEASE, "tenant", expected.tenant_id.as_ref(), &claims.tenant_id, Rejected::WrongTenant)?;
        same(trail, LEASE, "license", expected.license_id.as_ref(), &claims.license_id, Rejected::WrongLicense)?;
        same(trail, LEASE, "session", expected.session_id.as_ref(), &claims.session_id, Rejected::WrongSession)?;
        same(trail, LEASE, "hardware", hardware.as_ref(), &claims.hardware_sha256, Rejected::WrongHardware)?;
        if expected.nonce.is_some() {
            let nonce = claims.nonce.as_ref().ok_or(Rejected::MissingNonce);
            let nonce = trail.note(LEASE.name, "has a nonce", nonce)?;
            same(trail, LEASE, "nonce", expected.nonce.as_ref(), nonce, Rejected::WrongNonce)?;
        }
        self.within(LEASE, (claims.nbf, claims.exp), now, trail, (Rejected::NotYetValid, Rejected::Expired))?;
        Ok(claims)
    }

    fn certificate_holds(&self, certificate: &Certificate, now: SystemTime, trail: &mut Trail) -> Result<(), Rejected> {
        let otherwise = (Rejected::CertificateNotYetValid, Rejected::CertificateExpired);
        self.within(CERTIFICATE, (certificate.nbf, certificate.exp), now, trail, otherwise)
    }

    /// Whether `now` is in a token's time, from its first second up to but not in its last, give or take the skew.
    fn within(
        &self,
        kind: Kind,
        (nbf, exp): (u64, u64),
        now: SystemTime,
        trail: &mut Trail,
        (early, late): (Rejected, Rejected),
    ) -> Result<(), Rejected> {
        // Before 1970 nothing was signed: any such clock is early.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let compared = format!("now {} in [{nbf}, {exp}) ± {} s", now.as_secs(), self.skew.as_secs());
        let has_begun = now.saturating_add(self.skew) >= Duration::from_secs(nbf);
        trail.check(kind.name, "has begun", compared.clone(), has_begun, early)?;
        let has_not_ended = now < Duration::from_secs(exp).saturating_add(self.skew);
        trail.check(kind.name, "has not ended", compared, has_not_ended, late)
    }

    /// The certificate and the key in it, whatever its use and time.
    fn open_certificate(&self, token: &str, trail: &mut Trail) -> Result<(Certificate, LeafKey), Rejected> {
        let certificate: Certificate = self.root_signed(token, CERTIFICATE, trail)?;
        let key = LeafKey::from_jwk(&certificate.jwk).map_err(|what| Rejected::BadClaims(what.to_owned()));
        let key = trail.note(CERTIFICATE.name, "certifies a key", key)?;
        Ok((certificate, key))
    }

    /// The claims of a token that one of the pinned roots has signed.
    fn root_signed<T: DeserializeOwned>(&self, token: &str, kind: Kind, trail: &mut Trail) -> Result<T, Rejected> {
        let jws = open(token, kind, trail)?;
        let root = self.roots.iter().find(|root| root.kid() == jws.header.kid).ok_or(Rejected::UnknownRoot);
        let root = trail.note(kind.name, "names a pinned root", root)?;
        algorithm(&jws, kind, root.algorithm().name(), trail)?;
        let held = root.signed(jws.signed, &jws.signature);
        trail.check(kind.name, "signature", format!("key {}", root.kid()), held, Rejected::BadSignature)?;
        claims(&jws, kind, trail)
    }
}

/// A lease with what is needed to judge it.
struct Chain<'a> {
    jws: Jws<'a>,
    certified: Vec<Certified>,
    revocations: Option<RevocationList>,
}

/// A certificate truly signed by a pinned root, whatever it is worth now.
struct Certified {
    certificate: Certificate,
    key: LeafKey,
    /// How it was found to be so.
    checks: Trail,
}

/// Takes a token apart if it is of this kind.
fn open<'a>(token: &'a str, kind: Kind, trail: &mut Trail) -> Result<Jws<'a>, Rejected> {
    let jws = trail.note(kind.name, "form", jws::parse(token))?;
    let compared = format!("{} and {}", jws.header.typ, kind.typ);
    trail.check(kind.name, "typ", compared, jws.header.typ == kind.typ, Rejected::WrongType)?;
    Ok(jws)
}

/// Holds the algorithm that the header names against the one that the key has, which is the one that is used.
fn algorithm(jws: &Jws<'_>, kind: Kind, of_key: &str, trail: &mut Trail) -> Result<(), Rejected> {
    let compared = format!("{} and {of_key}", jws.header.alg);
    trail.check(kind.name, "algorithm", compared, jws.header.alg == of_key, Rejected::WrongAlgorithm)
}

/// The claims of a token whose signature has been verified.
fn claims<T: DeserializeOwned>(jws: &Jws<'_>, kind: Kind, trail: &mut Trail) -> Result<T, Rejected> {
    trail.note(kind.name, "claims", json::claims(&jws.payload).map_err(Rejected::BadClaims))
}

fn for_leases(certificate: &Certificate, trail: &mut Trail) -> Result<(), Rejected> {
    let compared = format!("{} and {USE_LEASE}", certificate.usage);
    trail.check(CERTIFICATE.name, "use", compared, certificate.usage == USE_LEASE, Rejected::WrongUse)
}

/// Compares a claim with what the caller knows, if the caller knows it.
fn same(
    trail: &mut Trail,
    kind: Kind,
    what: &'static str,
    expected: Option<&String>,
    found: &String,
    otherwise: Rejected,
) -> Result<(), Rejected> {
    let Some(expected) = expected else { return Ok(()) };
    trail.check(kind.name, what, format!("{found} and {expected}"), found == expected, otherwise)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic(token in ".{0,300}", other in r"[A-Za-z0-9_.-]{0,300}", now in any::<u64>()) {
            let verifier = Verifier::new(Vec::new());
            let now = UNIX_EPOCH.checked_add(Duration::from_secs(now)).unwrap_or(UNIX_EPOCH);
            let published = PublishedKeys { certificates: vec![other.clone()], revocations: Some(other) };
            prop_assert!(verifier.license(&token, &Expected::default()).is_err());
            prop_assert!(verifier.certificate(&token, now).is_err());
            prop_assert!(verifier.revocations(&token).is_err());
            prop_assert!(verifier.lease(&token, &published, &Expected::default(), now).is_err());
        }

        #[test]
        fn no_time_makes_it_panic(nbf in any::<u64>(), exp in any::<u64>(), now in any::<u64>(), skew in any::<u64>()) {
            let verifier = Verifier::new(Vec::new()).with_skew(Duration::from_secs(skew));
            let Some(now) = UNIX_EPOCH.checked_add(Duration::from_secs(now)) else { return Ok(()) };
            let _ = verifier.within(LEASE, (nbf, exp), now, &mut Trail::default(), (Rejected::NotYetValid, Rejected::Expired));
        }
    }

    #[test]
    fn a_time_holds_from_its_first_second_up_to_but_not_in_its_last() {
        let verifier = Verifier::new(Vec::new()).with_skew(Duration::from_secs(10));
        let at = |millis| {
            let otherwise = (Rejected::NotYetValid, Rejected::Expired);
            verifier.within(LEASE, (100, 200), UNIX_EPOCH + Duration::from_millis(millis), &mut Trail::default(), otherwise)
        };
        assert_eq!(at(89_999), Err(Rejected::NotYetValid));
        assert_eq!(at(90_000), Ok(()));
        assert_eq!(at(209_999), Ok(()));
        assert_eq!(at(210_000), Err(Rejected::Expired));
    }
}
