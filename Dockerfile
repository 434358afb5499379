# adaloraqat serve. No film and no result stays: run it with a read-only root and /tmp in memory.
#
#   docker build -t adaloraqat .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --ulimit core=0 \
#     --env ADALORAQAT_TOKEN --publish 127.0.0.1:8000:8000 adaloraqat
FROM python:3.12-slim AS wheels
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source /source/packages/weights

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin adaloraqat
COPY --from=wheels /source/constraints.txt /wheels/
COPY --from=wheels /wheels/ /wheels/
RUN pip install --no-cache-dir -c /wheels/constraints.txt --find-links /wheels \
      "adaloraqat[serve,dicom]" adaloraqat-weights && rm -r /wheels
ENV ADALORAQAT_CACHE=off PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["adaloraqat", "serve", "--host", "0.0.0.0", "--port", "8000"]
