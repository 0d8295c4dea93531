//! `standalone bootstrap`: a first customer.

use std::{error::Error, time::Duration};

use clap::Args;
use kms::RootSettings;
use platform::{
    db::{self, DatabaseSettings, NewCustomer},
    domain::{Clock, Email, Policy, SeatUnit, SystemClock, Tier},
    signing,
};
use serde_json::json;

#[derive(Args, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    root: RootSettings,
    /// Name of the customer's organization
    #[arg(long)]
    tenant: String,
    /// Email address of its owner
    #[arg(long, value_parser = Email::parse)]
    owner_email: Email,
    /// Seats of the license
    #[arg(long, default_value_t = 10)]
    seats: u32,
    /// Extra seats that may be used beyond these, and are flagged
    #[arg(long, default_value_t = 0)]
    overage: u32,
    /// Seconds of silence after which a session is over
    #[arg(long, default_value_t = 360, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    session_ttl: u64,
    /// What a seat is counted by: device or process
    #[arg(long, default_value = "device", value_parser = str::parse::<SeatUnit>)]
    seat_unit: SeatUnit,
    /// trial, starter, professional or enterprise
    #[arg(long, default_value = "professional", value_parser = str::parse::<Tier>)]
    tier: Tier,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the license key is shown here and nowhere else")]
pub(super) async fn run(settings: Settings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let customer = NewCustomer {
        name: settings.tenant,
        tier: settings.tier,
        owner: settings.owner_email,
        policy: Policy {
            seats_total: settings.seats,
            overage: settings.overage,
            session_ttl: Duration::from_secs(settings.session_ttl),
            seat_unit: settings.seat_unit,
            starts_at: None,
            expires_at: None,
            features: Vec::new(),
        },
    };
    let mut client = db::connect_as_login(&settings.database).await?;
    let root = settings.root.open()?;
    let issued = signing::issue(&mut client, &customer, &*root, SystemClock.now()).await?;
    let key = issued.key.reveal();
    if settings.json {
        let made = json!({
            "tenant_id": issued.tenant, "user_id": issued.owner, "license_id": issued.license,
            "license_key": key, "seats_total": settings.seats,
        });
        println!("{made}");
    } else {
        println!("tenant       {}\nowner        {}\nlicense      {}", issued.tenant, issued.owner, issued.license);
        println!("license key  {key}\n\nKeep the key: it is stored as a hash and cannot be shown again.");
    }
    Ok(())
}
