# Two images of a node: `nexmdm`, which needs DATABASE_URL and has no shell, and `standalone`, which brings the server programs of a private
# PostgreSQL along. Both run as user 65532 and write to /data only. docs/install.md tells how they are built and run.
#
# Everything is compiled and put together on the machine's own architecture: --platform linux/arm64 on amd64 needs no emulation.
ARG RUST=rust:1-bookworm
ARG BASE=debian:bookworm-slim

FROM --platform=$BUILDPLATFORM ${RUST} AS build
ARG TARGETARCH=amd64
# A folder of the context with a binary that was compiled before, and with its list of crates.
ARG PREBUILT=
WORKDIR /src
COPY . .
RUN PREBUILT="$PREBUILT" .ci/image/compile "$TARGETARCH" /out

FROM --platform=$BUILDPLATFORM ${BASE} AS root-nexmdm
ARG TARGETARCH=amd64
COPY .ci/image /image
COPY --from=build /out /out
RUN /image/root nexmdm "$TARGETARCH" /out /root-of-image

FROM --platform=$BUILDPLATFORM ${BASE} AS root-standalone
ARG TARGETARCH=amd64
COPY .ci/image /image
COPY --from=build /out /out
RUN /image/root standalone "$TARGETARCH" /out /root-of-image

FROM scratch AS standalone
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="NexMDM with PostgreSQL" \
    org.opencontainers.image.description="Self-hosted management of Android devices: a node with a private PostgreSQL" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED"
COPY --from=root-standalone /root-of-image /
COPY --from=root-standalone --chown=65532:65532 /root-of-image/data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV PATH=/usr/local/bin:/usr/bin:/bin NEXMDM__DATA_DIR=/data NEXMDM__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080 7946
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 CMD ["/usr/local/bin/nexmdm", "healthcheck"]
# tini reaps what a killed PostgreSQL leaves behind.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/nexmdm"]
CMD ["serve"]

FROM scratch AS nexmdm
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="NexMDM" \
    org.opencontainers.image.description="Self-hosted management of Android devices: a node for a PostgreSQL of yours" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED"
COPY --from=root-nexmdm /root-of-image /
COPY --from=root-nexmdm --chown=65532:65532 /root-of-image/data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV PATH=/usr/local/bin NEXMDM__DATA_DIR=/data NEXMDM__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080 7946
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/nexmdm", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/nexmdm"]
CMD ["serve"]
