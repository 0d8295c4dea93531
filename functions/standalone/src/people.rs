//! `standalone invite-staff` and `standalone demo-people`: people who are put in by hand.

use std::{error::Error, path::PathBuf};

use clap::Args;
use platform::{
    db::{self, DatabaseSettings, DemoPerson},
    domain::{Clock, Email, Standing, SystemClock, TenantId},
};
use serde_json::{Map, Value};

use crate::local_issuer::{self, LocalIssuer};

#[derive(Args, Debug)]
pub(super) struct InviteStaff {
    #[command(flatten)]
    database: DatabaseSettings,
    /// Email address: whoever accepts the invitation with it, verified, is of the staff
    #[arg(value_parser = Email::parse)]
    email: Email,
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) async fn invite_staff(settings: InviteStaff) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = db::connect_as_login(&settings.database).await?;
    if !db::invite_staff(&client, &settings.email, SystemClock.now()).await? {
        return Err("that address is of the staff, or invited, already".into());
    }
    println!("invited");
    Ok(())
}

#[derive(Args, Debug)]
pub(super) struct DemoPeople {
    #[command(flatten)]
    database: DatabaseSettings,
    /// The demo's tenant
    #[arg(long, value_parser = str::parse::<TenantId>)]
    tenant: TenantId,
    /// File with the local issuer's key, which is made where there is none
    #[arg(long, env = "LOCAL_ISSUER")]
    local_issuer: PathBuf,
}

/// Makes one person of each standing, and prints a token of each.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) async fn demo_people(settings: DemoPeople) -> Result<(), Box<dyn Error + Send + Sync>> {
    let issuer = LocalIssuer::open(&settings.local_issuer)?;
    let mut client = db::connect_as_login(&settings.database).await?;
    let now = SystemClock.now();
    let mut tokens = Map::new();
    for standing in [Standing::Staff, Standing::Owner, Standing::Admin, Standing::Member, Standing::Guest] {
        let name = standing.as_str();
        let email = Email::parse(&format!("{name}@demo.example"))?;
        // Staff are of no tenant, and the same in every demo.
        let subject = if standing == Standing::Staff { name.to_owned() } else { format!("{}.{name}", settings.tenant) };
        let person = DemoPerson { standing, email: &email, issuer: local_issuer::NAME, subject: &subject };
        db::enrol(&mut client, settings.tenant, person, now).await?;
        tokens.insert(format!("{name}_token"), issuer.token(&subject, email.as_str(), now).into());
    }
    println!("{:#}", Value::Object(tokens));
    Ok(())
}
