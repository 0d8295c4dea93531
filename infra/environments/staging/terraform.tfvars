# Yours: change them before the first apply. scripts/deploy reads the first three too.
project    = "coditect-staging"
region     = "europe-west1"
domain     = "licenses.staging.coditect.example"
repository = "coditect/licenses"
emails     = ["ops@coditect.example"]

# Nobody of the staff signs in unless an issuer that may vouch for them is named here: google is the project's own sign-ins.
staff_issuers = ["google"]
