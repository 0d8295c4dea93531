# Yours: change them before the first apply. scripts/deploy reads the first three too.
project    = "coditect-staging"
region     = "europe-west1"
domain     = "licenses.staging.coditect.example"
repository = "coditect/licenses"
emails     = ["ops@coditect.example"]
