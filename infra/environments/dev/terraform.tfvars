# Yours: change them before the first apply. scripts/deploy reads the first three too.
project    = "coditect-dev"
region     = "europe-west1"
domain     = "licenses.dev.coditect.example"
repository = "coditect/licenses"
emails     = ["ops@coditect.example"]
