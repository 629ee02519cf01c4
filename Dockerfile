# Greenlight's production image: the binary without the `dev` feature (no AWS double, no private PostgreSQL)
# on a small Debian, as a user without rights. Configuration is by environment (docs/operations.md).
#
#   docker build -t greenlight .

# ---- build -----------------------------------------------------------------------------------------
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# A layer of dependencies, kept for as long as the manifest and the lock file stay the same. The package is one
# crate, so empty targets are enough to have cargo build everything else: no extra tool has to be installed and
# kept up to date for it. Each target that Cargo.toml names must be here; those that .dockerignore leaves out
# stay empty.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches tests/it \
    && for target in src/main.rs benches/promotion.rs tests/it/main.rs; do echo 'fn main() {}' >"$target"; done \
    && touch src/lib.rs \
    && cargo build --release --locked --no-default-features \
    # Cargo goes by file times, and the real sources may be older than this layer.
    && cargo clean --release --locked -p greenlight

COPY . .
RUN cargo build --release --locked --no-default-features --bin greenlight \
    && install -D target/release/greenlight /out/greenlight

# ---- run -------------------------------------------------------------------------------------------
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Greenlight" \
      org.opencontainers.image.description="A release control plane for blue/green deployments on AWS" \
      org.opencontainers.image.licenses="Apache-2.0"

# The certificate authorities come from the build image, so that nothing has to be fetched here.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/greenlight /usr/local/bin/greenlight

# Numeric, so that Kubernetes' runAsNonRoot can see that it isn't root. Nothing is written to disk: the root
# filesystem may be read-only.
USER 65532:65532

ENV GREENLIGHT_LISTEN=0.0.0.0:8080
EXPOSE 8080

# The binary asks its own /healthz: the image needs no curl, and this works without a shell.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["greenlight", "healthcheck"]

# SIGTERM hands running jobs over to another replica; allow for the AWS write in flight when setting a stop timeout.
STOPSIGNAL SIGTERM
ENTRYPOINT ["greenlight"]
CMD ["serve"]
